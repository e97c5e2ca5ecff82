# AdamW 6x: 6 epochs, learning rate / 10 after epoch 4; for Swin backbones.
# lr is the released one, used with 1 clip per GPU whatever the number of GPUs; --auto-scale-lr
# multiplies it by (batch of all GPUs) / 8. No weight decay where a name contains one of
# `custom_keys`; other biases are decayed. Warmup as in the SGD schedules.
train_cfg = dict(type='VideoTrainLoop', max_epochs=6, val_interval=6)
val_cfg = dict(type='VideoValLoop')
test_cfg = dict(type='VideoTestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2.5e-5, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(
        custom_keys=dict(
            absolute_pos_embed=dict(decay_mult=0.0),
            relative_position_bias_table=dict(decay_mult=0.0),
            norm=dict(decay_mult=0.0),
        )
    ),
    clip_grad=dict(max_norm=35, norm_type=2),
)
param_scheduler = [
    # mmengine's warmup takes `end - 1` steps to the full rate
    dict(type='LinearLR', start_factor=1 / 3, by_epoch=False, begin=0, end=501),
    dict(type='MultiStepLR', by_epoch=True, milestones=[4], gamma=0.1),
]
auto_scale_lr = dict(enable=False, base_batch_size=8)
