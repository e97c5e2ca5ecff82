# SELSA on STPN, Swin-B FPN, from the COCO Cascade Mask R-CNN weights of Swin-B.
# Expected AP50: not known, nobody published a result. Not trained here. Schedule as
# stpn_selsa_swint_adam_9x.py.
_base_ = 'stpn_selsa_swint_adam_9x.py'

model = dict(
    detector=dict(
        backbone=dict(
            embed_dims=128,
            depths=(2, 2, 18, 2),
            num_heads=(4, 8, 16, 32),
            init_cfg=dict(checkpoint='cascade_mask_rcnn_swin_base_patch4_window7.pth'),
        ),
        neck=dict(in_channels=[128, 256, 512, 1024]),
    ),
    prompt_predictor=dict(embed_dims=1024, prompt_dims=128),
)
