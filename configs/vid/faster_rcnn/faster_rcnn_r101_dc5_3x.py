# Faster R-CNN, R-101 DC5, one frame at a time: the baseline of SELSA and MAMBA.
# 1.x reported a number for it in its README but shipped no config.
# Expected AP50 on ImageNet VID val: near 76.7 (fast 52.3, medium 74.1, slow 84.9).
#   Source: README of vfe.pytorch 1.x, which copied them from MEGA's: MEGA's own single-frame
#   R-101 (C4 with a dilated stage 5), not this model. VID protocol. Not trained here.
# Schedule: 3 epochs, lr / 10 after epoch 2; SGD 0.001 at 8 GPUs x 1 image, 13,711 iterations per
# epoch.
_base_ = 'faster_rcnn_r50_dc5_3x.py'
model = dict(backbone=dict(depth=101, init_cfg=dict(checkpoint='torchvision://resnet101')))
