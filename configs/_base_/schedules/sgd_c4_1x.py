# SGD "1x" of mega.pytorch: 4 epochs, learning rate / 10 after epoch 3 (the original counts
# iterations: 4.4 epochs, / 10 after 2.9). Biases learn twice as fast, without decay; gradients are
# not clipped. lr is that of 8 GPUs x 1 clip; --auto-scale-lr multiplies it by
# (batch of all GPUs) / 8, which is 0.001 on the 4 GPUs of the original.
_base_ = 'sgd_3x.py'

train_cfg = dict(max_epochs=4, val_interval=4)
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=2e-3, momentum=0.9, weight_decay=1e-4),
    paramwise_cfg=dict(bias_lr_mult=2.0, bias_decay_mult=0.0),
)
_base_.param_scheduler[1].milestones = [3]
param_scheduler = _base_.param_scheduler
