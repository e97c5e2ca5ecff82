# CenterNet, R-101, one frame at a time, within 512 x 512.
# Expected AP50 on ImageNet VID val: not published.
# Schedule: 80 epochs, lr / 10 after epoch 50; SGD 0.0001 at 4 GPUs x 8 images.
_base_ = [
    '../../_base_/models/centernet_r101.py',
    '../../_base_/datasets/imagenet_vid_centernet.py',
    '../../_base_/schedules/centernet_80e.py',
    '../../_base_/default_runtime.py',
]
