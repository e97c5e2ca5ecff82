# Swin-B, Faster R-CNN FPN, one frame at a time: what TDViT-B is compared with.
# Expected AP50 on ImageNet VID val: 82.7 (paper). Not trained here.
# Schedule as tdvit_t_joint_3x.py.
_base_ = 'swin_t_3x.py'

model = dict(
    backbone=dict(
        embed_dims=128,
        depths=(2, 2, 18, 2),
        num_heads=(4, 8, 16, 32),
        init_cfg=dict(checkpoint='swin_base_patch4_window7_224.pth'),
    ),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
