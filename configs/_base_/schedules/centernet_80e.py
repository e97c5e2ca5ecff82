# CenterNet: 80 epochs of batch 32 (4 GPUs x 8), learning rate / 10 after epoch 50; SGD 0.0001. The
# rate grows from a thousandth over 1,000 iterations.
train_cfg = dict(type='VideoTrainLoop', max_epochs=80, val_interval=10)
val_cfg = dict(type='VideoValLoop')
test_cfg = dict(type='VideoTestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=1e-4, momentum=0.9, weight_decay=1e-4),
    clip_grad=dict(max_norm=35, norm_type=2),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 1000, by_epoch=False, begin=0, end=1001),
    dict(type='MultiStepLR', by_epoch=True, milestones=[50], gamma=0.1),
]
auto_scale_lr = dict(enable=False, base_batch_size=32)
