# sgd_3x.py for 6 epochs, learning rate / 10 after epoch 4.
_base_ = 'sgd_3x.py'

train_cfg = dict(max_epochs=6, val_interval=6)
_base_.param_scheduler[1].milestones = [4]
param_scheduler = _base_.param_scheduler
