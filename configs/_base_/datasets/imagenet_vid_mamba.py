# ImageNet VID as MAMBA uses it: clips of imagenet_vid_clips.py, in training with one reference from
# anywhere before the key frame and one from anywhere after it. Testing: the frames of a video but
# the first in random order.
_base_ = 'imagenet_vid_clips.py'

_base_.train_dataloader.dataset.datasets[0].ref_img_sampler.frame_range = 1000
train_dataloader = _base_.train_dataloader
val_dataloader = dict(dataset=dict(shuffle_video_frames=True))
test_dataloader = val_dataloader
