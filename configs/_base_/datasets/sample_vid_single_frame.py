# The frames of sample_vid_multi_frame.py one at a time, without references.
_base_ = 'sample_vid_multi_frame.py'

for _dataset in _base_.train_dataloader.dataset.datasets:
    _dataset.ref_img_sampler = None
del _dataset
train_dataloader = _base_.train_dataloader
val_dataloader = dict(dataset=dict(ref_img_sampler=None))
test_dataloader = val_dataloader
