# EOVOD on CenterNet R-101 with the location prior.
# Expected on ImageNet VID val: COCO AP 53.4, AP50 79.8 (paper). Expected AP50 of the VID protocol:
# not published. Not trained here.
# Schedule: 80 epochs, lr / 10 after epoch 50; SGD 0.0001 at 4 GPUs x 8 clips of three frames.
_base_ = [
    '../../_base_/models/eovod_centernet_r101.py',
    '../../_base_/datasets/imagenet_vid_centernet_clips.py',
    '../../_base_/schedules/centernet_80e.py',
    '../../_base_/default_runtime.py',
]
