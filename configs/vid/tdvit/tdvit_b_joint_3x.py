# TDViT-B, joint attention, Faster R-CNN FPN.
# Expected AP50: nobody published joint attention in it; the paper has 84.4 for its own block and
# 82.7 for Swin-B. Not trained here. 104,242,270 parameters. Schedule as tdvit_t_joint_3x.py.
_base_ = 'tdvit_t_joint_3x.py'

model = dict(
    detector=dict(
        backbone=dict(
            embed_dims=128,
            depths=(2, 2, 18, 2),
            num_heads=(4, 8, 16, 32),
            init_cfg=dict(checkpoint='swin_base_patch4_window7_224.pth'),
        ),
        neck=dict(in_channels=[128, 256, 512, 1024]),
    )
)
