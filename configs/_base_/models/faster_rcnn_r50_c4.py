# Faster R-CNN, ResNet-50 C4 of Detectron: proposals on stage 3 (C4), regions on stage 4 (C5), which
# is dilated and computed on the whole map. Boxes include their last pixel throughout (`legacy`).
# The detector of MEGA and RDN R-50, whose weights `convert_checkpoint.py --from mega` makes.
model = dict(
    type='FasterRCNN',
    data_preprocessor=dict(
        type='ClipPreprocessor',
        mean=(102.9801, 115.9465, 122.7717),
        std=(1.0, 1.0, 1.0),
        bgr_to_rgb=False,
        pad_size_divisor=1,
    ),
    backbone=dict(
        type='ResNet',
        depth=50,
        strides=(1, 2, 2, 1),
        dilations=(1, 1, 1, 2),
        out_indices=(2, 3),
        frozen_stages=1,
        norm_eval=True,
        norm_frozen=True,
        norm_eps=0.0,
        style='caffe',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/pretrain/third_party/'
            'resnet50_msra-5891d200.pth',
        ),
    ),
    neck=dict(
        type='ChannelMapper', in_channels=[2048], out_channels=256, kernel_size=1, kept_levels=1
    ),
    rpn_head=dict(
        type='RPNHead',
        in_channels=1024,
        feat_channels=1024,
        maps=[0],
        anchor_generator=dict(
            type='AnchorGenerator',
            scales=[4, 8, 16, 32],
            ratios=[0.5, 1.0, 2.0],
            strides=[16],
            legacy=True,
        ),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=(1.0, 1.0, 1.0, 1.0), legacy=True),
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True),
        loss_bbox=dict(type='SmoothL1Loss', beta=1.0 / 9.0),
    ),
    roi_head=dict(
        type='StandardRoIHead',
        bbox_roi_extractor=dict(
            type='SingleRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=0, aligned=False),
            out_channels=256,
            featmap_strides=[16],
            first_map=1,
        ),
        bbox_head=dict(
            type='Shared2FCBBoxHead',
            in_channels=256,
            fc_out_channels=1024,
            roi_feat_size=7,
            num_classes=30,
            bbox_coder=dict(
                type='DeltaXYWHBBoxCoder', target_stds=(0.1, 0.1, 0.2, 0.2), legacy=True
            ),
            loss_cls=dict(type='CrossEntropyLoss'),
            loss_bbox=dict(type='SmoothL1Loss', beta=1.0),
        ),
    ),
    train_cfg=dict(
        rpn=dict(
            assigner=dict(
                type='MaxIoUAssigner',
                pos_iou_thr=0.7,
                neg_iou_thr=0.3,
                min_pos_iou=1e-3,
                legacy=True,
            ),
            sampler=dict(
                type='RandomSampler', num=256, pos_fraction=0.5, add_gt_as_proposals=False
            ),
            allowed_border=0,
        ),
        rpn_proposal=dict(
            nms_pre=6000,
            max_per_img=300,
            nms=dict(type='nms', iou_threshold=0.7, legacy=True),
            min_bbox_size=-1,
        ),
        rcnn=dict(
            assigner=dict(
                type='MaxIoUAssigner',
                pos_iou_thr=0.5,
                neg_iou_thr=0.5,
                min_pos_iou=0.5,
                match_low_quality=False,
                legacy=True,
            ),
            sampler=dict(type='RandomSampler', num=128, pos_fraction=0.25),
        ),
    ),
    test_cfg=dict(
        rpn=dict(
            nms_pre=6000,
            max_per_img=300,
            nms=dict(type='nms', iou_threshold=0.7, legacy=True),
            # sides are one less than they count: none of 0 pixels
            min_bbox_size=-1,
        ),
        rcnn=dict(
            score_thr=0.001,
            nms=dict(type='nms', iou_threshold=0.5, legacy=True),
            max_per_img=300,
        ),
    ),
)
