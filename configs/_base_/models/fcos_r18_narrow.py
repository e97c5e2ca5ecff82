# An FCOS that trains from scratch on a CPU in minutes: ResNet-18 of a quarter of the width, levels
# at strides 8, 16, 32. For the sample videos (configs/sample).
model = dict(
    type='FCOS',
    data_preprocessor=dict(type='ClipPreprocessor', pad_size_divisor=32),
    backbone=dict(
        type='ResNet',
        depth=18,
        base_channels=16,
        out_indices=(1, 2, 3),
        norm_eval=False,  # nothing is pretrained: batch norm learns its statistics
    ),
    neck=dict(type='FPN', in_channels=[32, 64, 128], out_channels=64, num_outs=3),
    bbox_head=dict(
        type='FCOSHead',
        num_classes=30,
        in_channels=64,
        feat_channels=64,
        stacked_convs=2,
        strides=(8, 16, 32),
        reach=2.5,  # objects of 30 to 80 pixels on all three levels
    ),
    train_cfg=dict(),
    test_cfg=dict(
        nms_pre=300, score_thr=0.001, nms=dict(type='nms', iou_threshold=0.5), max_per_img=50
    ),
)
