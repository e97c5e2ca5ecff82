# CenterNet: 80 epochs of batch 32 (4 GPUs x 8), learning rate / 10 after epoch 50; SGD 0.0001. The
# rate grows from a thousandth over 1,000 iterations.
_base_ = 'sgd_3x.py'

train_cfg = dict(max_epochs=80, val_interval=10)
optim_wrapper = dict(optimizer=dict(lr=1e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 1000, by_epoch=False, begin=0, end=1001),
    dict(type='MultiStepLR', by_epoch=True, milestones=[50], gamma=0.1),
]
auto_scale_lr = dict(base_batch_size=32)
