# EOVOD on FCOS R-50 with the location prior.
# Expected AP50 on ImageNet VID val: not published.
# Schedule: 3 epochs, lr / 10 after epoch 2; SGD 0.001 at 8 GPUs x 1 clip.
_base_ = [
    '../../_base_/models/eovod_fcos_r50.py',
    '../../_base_/datasets/imagenet_vid_clips.py',
    '../../_base_/schedules/sgd_3x.py',
    '../../_base_/default_runtime.py',
]
