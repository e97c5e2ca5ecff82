# What every config shares: hooks, logs, environment. mmengine's schema.
default_scope = 'mmdet'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    start_info=dict(type='StartInfoHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', interval=1),
    sampler_seed=dict(type='DistSamplerSeedHook'),
)
custom_hooks = []

env_cfg = dict(
    tf32=True,  # on a GPU: float32 convolutions and matrix products in TensorFloat-32
    cudnn_benchmark=None,  # on a GPU: None is on in testing (sizes stay), off in training
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(timeout=3600),  # seconds; rank 0 scores while the others wait
)
randomness = dict(seed=None, deterministic=False)

log_level = 'INFO'
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=True)
# curves as JSON lines in <work_dir>/<time>/vis_data/scalars.json, and for TensorBoard if installed
visualizer = dict(
    type='Visualizer',
    vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')],
)

load_from = None
resume = False
