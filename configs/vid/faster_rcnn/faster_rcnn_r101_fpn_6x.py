# Faster R-CNN, R-101 FPN, one frame at a time.
# In 1.x faster_rcnn_r101_fpn_6x_vid.py, which did not load: its base file was missing.
# Expected AP50 on ImageNet VID val: not published for a pyramid. The 76.7 (fast 52.3, medium
#   74.1, slow 84.9) of the README of 1.x is of MEGA's single-frame R-101, which has none.
# Schedule: 6 epochs, lr / 10 after epoch 4; SGD 0.001 at 8 GPUs x 1 image, 13,711 iterations per
# epoch.
_base_ = 'faster_rcnn_r50_fpn_6x.py'
model = dict(backbone=dict(depth=101, init_cfg=dict(checkpoint='torchvision://resnet101')))
