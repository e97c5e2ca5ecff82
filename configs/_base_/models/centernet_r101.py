# CenterNet, ResNet-101: the last map of the backbone, brought to stride 4.
model = dict(
    type='CenterNet',
    data_preprocessor=dict(type='ClipPreprocessor', pad_size_divisor=32, pad_to_square=True),
    backbone=dict(
        type='ResNet',
        depth=101,
        out_indices=(3,),
        norm_eval=True,
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet101'),
    ),
    neck=dict(type='CTResNetNeck', in_channels=2048, channels=(256, 128, 64)),
    bbox_head=dict(type='CenterNetHead', num_classes=30, in_channels=64, feat_channels=64),
    train_cfg=dict(),
    test_cfg=dict(score_thr=0.0, max_per_img=100),
)
