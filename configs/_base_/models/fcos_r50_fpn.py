# FCOS, ResNet-50 (weights that Detectron converted from Caffe), pyramid levels at strides 8 to 128.
# Group norm in the head, centerness on the classification tower, no centre sampling.
model = dict(
    type='FCOS',
    data_preprocessor=dict(
        type='ClipPreprocessor',
        mean=(102.9801, 115.9465, 122.7717),  # blue, green, red
        std=(1.0, 1.0, 1.0),
        bgr_to_rgb=False,
        pad_size_divisor=32,
    ),
    backbone=dict(
        type='ResNet',
        depth=50,
        out_indices=(0, 1, 2, 3),
        frozen_stages=1,
        norm_eval=True,
        norm_frozen=True,
        style='caffe',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/pretrain/third_party/'
            'resnet50_caffe-788b5fa3.pth',
        ),
    ),
    neck=dict(
        type='FPN',
        in_channels=[256, 512, 1024, 2048],
        out_channels=256,
        start_level=1,
        add_extra_convs='on_output',
        relu_before_extra_convs=True,
        num_outs=5,
    ),
    bbox_head=dict(
        type='FCOSHead',
        num_classes=30,
        in_channels=256,
        feat_channels=256,
        stacked_convs=4,
        strides=(8, 16, 32, 64, 128),
    ),
    train_cfg=dict(),
    test_cfg=dict(
        nms_pre=1000,
        score_thr=0.0001,
        nms=dict(type='nms', iou_threshold=0.5),
        max_per_img=100,
    ),
)
