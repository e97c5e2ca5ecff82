# YOLOX: 90 epochs of batch 64 (8 GPUs x 8), SGD 0.001 with Nesterov momentum; the rate grows with
# the square of the iteration for 5 epochs, falls to a twentieth along a cosine until epoch 85 and
# stays. The last 5 epochs train on images as they are, with the L1 loss. Every 10 iterations images
# are resized to another size of 480 to 800 pixels. Validated and saved is the running average of
# the weights.
_base_ = '../default_runtime.py'

train_cfg = dict(type='VideoTrainLoop', max_epochs=90, val_interval=10)
val_cfg = dict(type='VideoValLoop')
test_cfg = dict(type='VideoTestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=1e-3, momentum=0.9, weight_decay=5e-4, nesterov=True),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
# two linear ramps make a square
ramp = dict(
    type='LinearLR', start_factor=1e-3, by_epoch=True, begin=0, end=5, convert_to_iter_based=True
)
param_scheduler = [
    ramp,
    ramp,
    dict(
        type='CosineAnnealingLR',
        eta_min=5e-5,
        by_epoch=True,
        begin=5,
        end=85,
        T_max=80,
        convert_to_iter_based=True,
    ),
]
auto_scale_lr = dict(enable=False, base_batch_size=64)
default_hooks = dict(checkpoint=dict(interval=10))
custom_hooks = [
    dict(type='EMAHook', momentum=1e-4),
    dict(type='LastEpochsHook', epochs=5),
    dict(type='MultiScaleHook', sides=(480, 800), step=32, interval=10),
]
