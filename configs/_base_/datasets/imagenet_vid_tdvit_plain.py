# ImageNet VID as TDViT trains on it, without the augmentation of Swin: a key frame and, for each of
# the four stages, one reference from as many frames around it as the stage looks back. A DET image
# is its own reference. Testing: the frames of a video in their order, without references.
#
# Other readings of what the paper draws (the numbers are those of the stages):
#   method='stagewise_ring', frame_range=[5, 10, 20, 40]: from rings around the key frame
#   method='stagewise_uniform', frame_range=[[-7, -4], [-15, -8], [-31, -16], [-63, -32]]: as far
#   back as references lie in testing
_base_ = 'imagenet_vid_clips.py'

for _dataset in _base_.train_dataloader.dataset.datasets:
    _dataset.ref_img_sampler = dict(method='stagewise_uniform', frame_range=[4, 8, 16, 32])
del _dataset
train_dataloader = _base_.train_dataloader

val_dataloader = dict(dataset=dict(ref_img_sampler=None))
test_dataloader = val_dataloader
