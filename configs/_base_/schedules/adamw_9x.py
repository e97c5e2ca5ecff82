# adamw_3x.py for 9 epochs, learning rate / 10 after epoch 6. Gradients are not clipped, as in the
# released training of STPN.
_base_ = 'adamw_3x.py'

train_cfg = dict(max_epochs=9, val_interval=9)
_base_.param_scheduler[1].milestones = [6]
param_scheduler = _base_.param_scheduler
_base_.optim_wrapper.pop('clip_grad')
optim_wrapper = _base_.optim_wrapper
