# Swin-T, Faster R-CNN FPN, one frame at a time: what TDViT-T is compared with.
# Expected AP50 on ImageNet VID val: 79.5 and 79.6 (two seeds; fast 57.3, medium 78.8, slow 85.7).
#   Source: the authors' later code base, trained as here; VID protocol. The paper has 77.2. Not
#   trained here. 44,895,072 parameters.
# Schedule: that of tdvit_t_joint_3x.py, and its weights and augmentation.
_base_ = [
    '../../_base_/models/faster_rcnn_swint_fpn.py',
    '../../_base_/datasets/imagenet_vid_swin.py',
    '../../_base_/schedules/adamw_3x.py',
    '../../_base_/default_runtime.py',
]

model = dict(backbone=dict(init_cfg=dict(checkpoint='swin_tiny_patch4_window7_224.pth')))
