# The frames of imagenet_vid_clips.py one at a time, without references.
_base_ = 'imagenet_vid_clips.py'

for _dataset in _base_.train_dataloader.dataset.datasets:
    _dataset.ref_img_sampler = None
del _dataset
train_dataloader = _base_.train_dataloader
val_dataloader = dict(dataset=dict(ref_img_sampler=None))
test_dataloader = val_dataloader
