# sample_5x.py for Swin backbones: norms and bias tables are not decayed. The rate is that of the
# ResNet-18; after 510 iterations on 60 videos, one run each, AP50 of faster_rcnn_swin_tiny.py was
# 0.451, 0.493, 0.525 at 0.0005, 0.001, 0.002.
_base_ = 'sample_5x.py'

optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys=dict(
            norm=dict(decay_mult=0.0),
            relative_position_bias_table=dict(decay_mult=0.0),
        )
    ),
)
