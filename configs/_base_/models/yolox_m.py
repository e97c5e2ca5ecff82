# YOLOX-M: CSPDarknet 0.67 deep and 0.75 wide, levels at strides 8, 16, 32. Images are blue, green,
# red as they are, filled up to a square with 114.
model = dict(
    type='YOLOX',
    data_preprocessor=dict(
        type='ClipPreprocessor',
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        bgr_to_rgb=False,
        pad_size_divisor=32,
        pad_value=114,
        pad_to_square=True,
    ),
    backbone=dict(type='CSPDarknet', deepen_factor=0.67, widen_factor=0.75),
    neck=dict(type='YOLOXPAFPN', in_channels=[192, 384, 768], out_channels=192, num_csp_blocks=2),
    bbox_head=dict(
        type='YOLOXHead',
        num_classes=30,
        in_channels=192,
        feat_channels=192,
        normalizer='batch',  # batch norm mixes the images of a batch anyway
    ),
    train_cfg=dict(assigner=dict(type='SimOTAAssigner', center_radius=2.5)),
    test_cfg=dict(score_thr=0.001, nms=dict(type='nms', iou_threshold=0.65), max_per_img=100),
)
