# SGD 9x: 9 epochs, learning rate / 10 after epoch 6.
# lr is the released one, used with 1 clip per GPU whatever the number of GPUs; --auto-scale-lr
# multiplies it by (batch of all GPUs) / 8. Warmup: from lr/3, linear over 500 iterations:
# lr * (1 - (1 - it / 500) * (1 - 1 / 3)).
train_cfg = dict(type='VideoTrainLoop', max_epochs=9, val_interval=9)
val_cfg = dict(type='VideoValLoop')
test_cfg = dict(type='VideoTestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=1e-3, momentum=0.9, weight_decay=1e-4),
    clip_grad=dict(max_norm=35, norm_type=2),
)
param_scheduler = [
    # mmengine's warmup takes `end - 1` steps to the full rate
    dict(type='LinearLR', start_factor=1 / 3, by_epoch=False, begin=0, end=501),
    dict(type='MultiStepLR', by_epoch=True, milestones=[6], gamma=0.1),
]
auto_scale_lr = dict(enable=False, base_batch_size=8)
