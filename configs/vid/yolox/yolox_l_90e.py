# YOLOX-L, one frame at a time, at 640 x 640.
# Expected AP50 on ImageNet VID val: not published.
# Schedule: 90 epochs, see schedules/yolox_90e.py; 8 GPUs x 8 images.
_base_ = [
    '../../_base_/models/yolox_m.py',
    '../../_base_/datasets/imagenet_vid_yolox.py',
    '../../_base_/schedules/yolox_90e.py',
]
model = dict(
    backbone=dict(deepen_factor=1.0, widen_factor=1.0),
    neck=dict(in_channels=[256, 512, 1024], out_channels=256, num_csp_blocks=3),
    bbox_head=dict(in_channels=256, feat_channels=256),
)
