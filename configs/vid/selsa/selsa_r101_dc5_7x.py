# SELSA, R-101 DC5, 14 references over the whole video in testing.
# Expected AP50 on ImageNet VID val: 81.5.
#   Source: published by mmtracking for its weights (COCO protocol, best of several runs, +-1 AP
#   from run to run); the README of vfe.pytorch 1.x lists the same 81.5. Not trained here. Those
#   weights load as they are (same names and shapes).
# Schedule: 7 epochs, lr / 10 after epochs 2 and 5; SGD 0.01 at 8 GPUs x 1 clip (mmtracking's
# recipe).
# Published memory 5.2 GB per GPU, 7.2 frames/s in testing on a V100; hours not published.
_base_ = 'selsa_r50_dc5_7x.py'
model = dict(
    detector=dict(backbone=dict(depth=101, init_cfg=dict(checkpoint='torchvision://resnet101')))
)
