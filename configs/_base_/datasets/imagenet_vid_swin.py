# The key frames of imagenet_vid_tdvit.py, with its augmentation, one frame at a time: for the Swin
# baselines of TDViT.
_base_ = 'imagenet_vid_tdvit.py'

for _dataset in _base_.train_dataloader.dataset.datasets:
    _dataset.ref_img_sampler = None
del _dataset
train_dataloader = _base_.train_dataloader
