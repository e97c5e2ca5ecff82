# A YOLOX that trains from scratch on a CPU in minutes. For the sample videos (configs/sample).
model = dict(
    type='YOLOX',
    data_preprocessor=dict(
        type='ClipPreprocessor',
        mean=(114.0, 114.0, 114.0),
        std=(58.0, 58.0, 58.0),
        bgr_to_rgb=False,
        pad_size_divisor=32,
    ),
    backbone=dict(type='CSPDarknet', deepen_factor=0.33, widen_factor=0.25),
    neck=dict(type='YOLOXPAFPN', in_channels=[64, 128, 256], out_channels=64, num_csp_blocks=1),
    bbox_head=dict(
        type='YOLOXHead', num_classes=30, in_channels=64, feat_channels=64, normalizer='batch'
    ),
    train_cfg=dict(assigner=dict(type='SimOTAAssigner', center_radius=2.5)),
    test_cfg=dict(score_thr=0.001, nms=dict(type='nms', iou_threshold=0.65), max_per_img=50),
)
