# sgd_9x.py as FCOS trains: biases learn twice as fast and are not decayed; a third of the rate, all
# of it, for the first 500 iterations.
_base_ = 'sgd_9x.py'

optim_wrapper = dict(paramwise_cfg=dict(bias_lr_mult=2.0, bias_decay_mult=0.0))
param_scheduler = [
    dict(type='ConstantLR', factor=1 / 3, by_epoch=False, begin=0, end=501),
    dict(type='MultiStepLR', by_epoch=True, milestones=[6], gamma=0.1),
]
