_base_ = '../../configs/_base_/default_runtime.py'
custom_imports = dict(imports=['engine_toy'])
model = dict(type='ToyDetector')
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='ClipSampler', shuffle=True),
    batch_sampler=dict(type='AspectRatioBatchSampler'),
    collate_fn=dict(type='collate_clips'),
    dataset=dict(type='ToyClips'),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='VideoSampler'),
    collate_fn=dict(type='collate_clips'),
    dataset=dict(type='ToyClips', test_mode=True),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='ToyMetric')
test_evaluator = val_evaluator
train_cfg = dict(type='VideoTrainLoop', max_epochs=2, val_interval=1)
val_cfg = dict(type='VideoValLoop')
test_cfg = dict(type='VideoTestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=1e-4),
    clip_grad=dict(max_norm=35, norm_type=2),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 3, by_epoch=False, begin=0, end=6),
    dict(type='MultiStepLR', by_epoch=True, milestones=[1], gamma=0.1),
]
auto_scale_lr = dict(enable=False, base_batch_size=8)
