# Swin-S, Faster R-CNN FPN, one frame at a time: what TDViT-S is compared with.
# Expected AP50 on ImageNet VID val: 84.0 (fast 63.5, medium 83.3, slow 89.9).
#   Source: the authors' later code base, trained as here. The paper has 82.4. Not trained here.
# Schedule as tdvit_t_joint_3x.py.
_base_ = 'swin_t_3x.py'

model = dict(
    backbone=dict(
        depths=(2, 2, 18, 2), init_cfg=dict(checkpoint='swin_small_patch4_window7_224.pth')
    )
)
