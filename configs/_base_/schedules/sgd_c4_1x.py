# SGD "1x" of mega.pytorch: 4 epochs, learning rate / 10 after epoch 3 (the original counts
# iterations: 4.4 epochs, / 10 after 2.9). Biases learn twice as fast, without decay; gradients are
# not clipped. lr is that of 8 GPUs x 1 clip; --auto-scale-lr multiplies it by
# (batch of all GPUs) / 8, which is 0.001 on the 4 GPUs of the original. Warmup: from lr/3, linear
# over 500 iterations: lr * (1 - (1 - it / 500) * (1 - 1 / 3)).
train_cfg = dict(type='VideoTrainLoop', max_epochs=4, val_interval=4)
val_cfg = dict(type='VideoValLoop')
test_cfg = dict(type='VideoTestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=2e-3, momentum=0.9, weight_decay=1e-4),
    paramwise_cfg=dict(bias_lr_mult=2.0, bias_decay_mult=0.0),
)
param_scheduler = [
    # mmengine's warmup takes `end - 1` steps to the full rate
    dict(type='LinearLR', start_factor=1 / 3, by_epoch=False, begin=0, end=501),
    dict(type='MultiStepLR', by_epoch=True, milestones=[3], gamma=0.1),
]
auto_scale_lr = dict(enable=False, base_batch_size=8)
