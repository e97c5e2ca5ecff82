# 5 epochs of the sample videos, 1,350 iterations of 4 clips, from scratch on a CPU.
train_cfg = dict(type='VideoTrainLoop', max_epochs=5, val_interval=5)
val_cfg = dict(type='VideoValLoop')
test_cfg = dict(type='VideoTestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.01),
    clip_grad=dict(max_norm=10, norm_type=2),
)
param_scheduler = [
    # the cosine ends where the run does: begin + T_max = 1,350
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=51),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=50, T_max=1300, eta_min=2e-5),
]
