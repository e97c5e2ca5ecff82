# Faster R-CNN, R-101 C4, one frame at a time: the baseline of MEGA and RDN.
# Expected AP50 on ImageNet VID val: 76.7.
#   Source: mega.pytorch README (its evaluator; see README.md). Not trained here. Its weights load
#   after `tools/model_converters/convert_checkpoint.py --from mega IN.pth OUT.pth`.
# Schedule: 4 epochs, lr / 10 after epoch 3; SGD 0.002 at 8 GPUs x 1 image.
_base_ = 'faster_rcnn_r50_c4_1x.py'
model = dict(
    backbone=dict(
        depth=101,
        init_cfg=dict(
            checkpoint='https://download.openmmlab.com/pretrain/third_party/'
            'resnet101_msra-6cc46731.pth'
        ),
    ),
    neck=None,
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=2048),
        bbox_head=dict(in_channels=2048),
    ),
)
