# SELSA, R-50 DC5, 14 references over the whole video in testing.
# Expected AP50 on ImageNet VID val: 78.4.
#   Source: published by mmtracking for its weights (COCO protocol, best of several runs, +-1 AP
#   from run to run). Not trained here. Those weights load as they are (same names and shapes).
# Schedule: 7 epochs, lr / 10 after epochs 2 and 5; SGD 0.01 at 8 GPUs x 1 clip (mmtracking's
# recipe).
# Published memory 3.5 GB per GPU, 7.5 frames/s in testing on a V100; hours not published.
_base_ = [
    '../../_base_/models/selsa_r50_dc5.py',
    '../../_base_/datasets/imagenet_vid_clips.py',
    '../../_base_/schedules/sgd_7x.py',
    '../../_base_/default_runtime.py',
]
