# TDViT-T, joint attention, trained with nothing but resizing to 1000 x 600 and flips.
# Expected AP50 on ImageNet VID val: 81.7 (fast 59.6, medium 80.8, slow 88.4).
#   Source: the authors' later code base; its Swin-T trained so: 79.9. Not trained here.
# Schedule as tdvit_t_joint_3x.py.
_base_ = [
    '../../_base_/models/tdvit_t.py',
    '../../_base_/datasets/imagenet_vid_tdvit_plain.py',
    '../../_base_/schedules/adamw_3x.py',
    '../../_base_/default_runtime.py',
]
