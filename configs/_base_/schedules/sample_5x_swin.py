# sample_5x.py for Swin backbones: half its rate; norms and bias tables are not decayed.
# 510 iterations on 60 videos, one run each: at 0.0005, 0.001, 0.002 the loss of
# faster_rcnn_swin_tiny.py fell to 0.774, 0.730, 0.750 (the ResNet-18 at 0.002: 0.732).
_base_ = 'sample_5x.py'

optim_wrapper = dict(
    optimizer=dict(lr=1e-3),
    paramwise_cfg=dict(
        custom_keys=dict(
            norm=dict(decay_mult=0.0),
            relative_position_bias_table=dict(decay_mult=0.0),
        )
    ),
)
