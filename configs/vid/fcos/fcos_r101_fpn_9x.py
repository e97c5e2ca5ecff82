# FCOS, R-101 FPN, one frame at a time.
# Expected on ImageNet VID val: COCO AP 49.8, AP50 73.3 to 73.6, AP75 54.6. Expected AP50 of the VID
# protocol: not published. Source: the paper of EOVOD, and its authors' own repetition (9 epochs);
# not trained here. Both start from a detector trained on COCO, this config from ImageNet weights.
# Schedule: 9 epochs, lr / 10 after epoch 6; SGD 0.001 at 8 GPUs x 1 image, 13,711 iterations per
# epoch.
_base_ = 'fcos_r50_fpn_9x.py'
model = dict(
    backbone=dict(
        depth=101,
        init_cfg=dict(
            checkpoint='https://download.openmmlab.com/pretrain/third_party/'
            'resnet101_caffe-3ad79236.pth'
        ),
    )
)
