# 2 more epochs of the sample videos, 540 iterations of 4 clips, for a model that starts from a
# trained single-frame detector.
_base_ = 'sample_5x.py'

train_cfg = dict(max_epochs=2, val_interval=2)
optim_wrapper = dict(
    optimizer=dict(lr=4e-4),
    # What is new learns faster than what is trained. The pixel level starts close to zero: with 2.0
    # its residual ends at 1 to 2 % of the map, with 10.0 at 4 to 10 %.
    paramwise_cfg=dict(
        custom_keys=dict(aggregator=dict(lr_mult=2.0), pixel_memory=dict(lr_mult=10.0))
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=31),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=30, T_max=510, eta_min=4e-6),
]
