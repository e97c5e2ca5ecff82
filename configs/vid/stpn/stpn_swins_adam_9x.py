# STPN, Swin-S FPN. Untrained: 1.x shipped this file empty, and nobody published a result.
# Depths and drop path as the authors' later code base proposes; 66,324,528 parameters.
# Schedule as stpn_swint_adam_9x.py.
_base_ = 'stpn_swint_adam_9x.py'

model = dict(
    detector=dict(
        backbone=dict(
            depths=(2, 2, 18, 2),
            drop_path_rate=0.3,
            init_cfg=dict(checkpoint='mask_rcnn_swin_small_patch4_window7.pth'),
        )
    )
)
