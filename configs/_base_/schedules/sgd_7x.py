# sgd_3x.py with ten times the rate, for 7 epochs, learning rate / 10 after epochs 2 and 5: the
# recipe of published SELSA models.
_base_ = 'sgd_3x.py'

train_cfg = dict(max_epochs=7, val_interval=7)
optim_wrapper = dict(optimizer=dict(lr=1e-2))
_base_.param_scheduler[1].milestones = [2, 5]
param_scheduler = _base_.param_scheduler
