# Faster R-CNN, ResNet-50 with a dilated last stage (DC5): one map at stride 16.
# The detector of the rows of SELSA and MAMBA, and their single-frame baseline.
model = dict(
    type='FasterRCNN',
    data_preprocessor=dict(
        type='ClipPreprocessor',
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
        bgr_to_rgb=True,
        pad_size_divisor=16,
    ),
    backbone=dict(
        type='ResNet',
        depth=50,
        strides=(1, 2, 2, 1),
        dilations=(1, 1, 1, 2),
        out_indices=(3,),
        frozen_stages=1,
        norm_eval=True,
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'),
    ),
    neck=dict(type='ChannelMapper', in_channels=[2048], out_channels=512, kernel_size=3),
    rpn_head=dict(
        type='RPNHead',
        in_channels=512,
        feat_channels=512,
        anchor_generator=dict(
            type='AnchorGenerator', scales=[4, 8, 16, 32], ratios=[0.5, 1.0, 2.0], strides=[16]
        ),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=(1.0, 1.0, 1.0, 1.0)),
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True),
        loss_bbox=dict(type='SmoothL1Loss', beta=1.0 / 9.0),
    ),
    roi_head=dict(
        type='StandardRoIHead',
        bbox_roi_extractor=dict(
            type='SingleRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=2),
            out_channels=512,
            featmap_strides=[16],
        ),
        bbox_head=dict(
            type='Shared2FCBBoxHead',
            in_channels=512,
            fc_out_channels=1024,
            roi_feat_size=7,
            num_classes=30,
            bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=(0.2, 0.2, 0.2, 0.2)),
            loss_cls=dict(type='CrossEntropyLoss'),
            loss_bbox=dict(type='SmoothL1Loss', beta=1.0),
        ),
    ),
    train_cfg=dict(
        rpn=dict(
            assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3),
            sampler=dict(
                type='RandomSampler', num=256, pos_fraction=0.5, add_gt_as_proposals=False
            ),
            allowed_border=0,
        ),
        rpn_proposal=dict(nms_pre=6000, max_per_img=600, nms=dict(type='nms', iou_threshold=0.7)),
        rcnn=dict(
            # low-quality matching is on, as in the released training
            assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5),
            sampler=dict(type='RandomSampler', num=256, pos_fraction=0.25),
        ),
    ),
    test_cfg=dict(
        rpn=dict(nms_pre=6000, max_per_img=300, nms=dict(type='nms', iou_threshold=0.7)),
        rcnn=dict(score_thr=0.0001, nms=dict(type='nms', iou_threshold=0.5), max_per_img=100),
    ),
)
