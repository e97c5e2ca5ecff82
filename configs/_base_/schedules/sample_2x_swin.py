# sample_2x.py for Swin backbones: norms and bias tables are not decayed, what makes the prompts is
# new and learns faster.
_base_ = 'sample_2x.py'

optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys=dict(
            norm=dict(decay_mult=0.0),
            relative_position_bias_table=dict(decay_mult=0.0),
            prompt_predictor=dict(lr_mult=5.0),
        )
    ),
)
