# TDViT-S, joint attention, Faster R-CNN FPN.
# Expected AP50 on ImageNet VID val: 83.8 (fast 62.1, medium 83.8, slow 90.4).
#   Source: the authors' later code base, trained as here, where Swin-S had 84.0. The paper has 84.1
#   for its own block and 82.4 for Swin-S. Not trained here. 66,212,976 parameters.
# Schedule as tdvit_t_joint_3x.py.
_base_ = 'tdvit_t_joint_3x.py'

model = dict(
    detector=dict(
        backbone=dict(
            depths=(2, 2, 18, 2),
            init_cfg=dict(checkpoint='swin_small_patch4_window7_224.pth'),
        )
    )
)
