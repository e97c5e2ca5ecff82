# MAMBA, instance level, R-101 DC5.
# Expected AP50 on ImageNet VID val: not published for 3 epochs.
# Schedule: 3 epochs, lr / 10 after epoch 2; SGD 0.001 at 8 GPUs x 1 clip, 13,711 iterations per
# epoch.
# Hours and memory: as mamba_r101_dc5_6x.py per iteration (0.165 s on 8 A100, 5.3 GB).
_base_ = [
    '../../_base_/models/mamba_r50_dc5.py',
    '../../_base_/datasets/imagenet_vid_mamba.py',
    '../../_base_/schedules/sgd_3x.py',
    '../../_base_/default_runtime.py',
]
model = dict(
    detector=dict(backbone=dict(depth=101, init_cfg=dict(checkpoint='torchvision://resnet101')))
)
