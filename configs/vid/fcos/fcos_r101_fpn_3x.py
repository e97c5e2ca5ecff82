# FCOS, R-101 FPN, one frame at a time.
# Expected AP50 on ImageNet VID val: not published.
# Schedule: 3 epochs, lr / 10 after epoch 2; SGD 0.001 at 8 GPUs x 1 image, 13,711 iterations per
# epoch.
_base_ = 'fcos_r50_fpn_3x.py'
model = dict(
    backbone=dict(
        depth=101,
        init_cfg=dict(
            checkpoint='https://download.openmmlab.com/pretrain/third_party/'
            'resnet101_caffe-3ad79236.pth'
        ),
    )
)
