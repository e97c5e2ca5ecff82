# A Faster R-CNN that trains from scratch on a CPU in minutes: ResNet-18 of a quarter of the width,
# one map at stride 8, small heads. For the sample videos (configs/sample).
model = dict(
    type='FasterRCNN',
    data_preprocessor=dict(type='ClipPreprocessor', pad_size_divisor=16),
    backbone=dict(
        type='ResNet',
        depth=18,
        base_channels=16,
        strides=(1, 2, 1, 1),
        dilations=(1, 1, 2, 2),
        out_indices=(3,),
        norm_eval=False,  # nothing is pretrained: batch norm learns its statistics
    ),
    neck=dict(type='ChannelMapper', in_channels=[128], out_channels=64, kernel_size=3),
    rpn_head=dict(
        type='RPNHead',
        in_channels=64,
        feat_channels=64,
        anchor_generator=dict(
            type='AnchorGenerator', scales=[2.5, 4, 6.5], ratios=[0.6, 1.2], strides=[8]
        ),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=(1.0, 1.0, 1.0, 1.0)),
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True),
        loss_bbox=dict(type='SmoothL1Loss', beta=1.0 / 9.0),
    ),
    roi_head=dict(
        type='StandardRoIHead',
        bbox_roi_extractor=dict(
            type='SingleRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=5, sampling_ratio=2),
            out_channels=64,
            featmap_strides=[8],
        ),
        bbox_head=dict(
            type='Shared2FCBBoxHead',
            in_channels=64,
            fc_out_channels=256,
            roi_feat_size=5,
            num_classes=30,
            bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=(0.1, 0.1, 0.2, 0.2)),
            loss_cls=dict(type='CrossEntropyLoss'),
            loss_bbox=dict(type='SmoothL1Loss', beta=1.0),
        ),
    ),
    train_cfg=dict(
        rpn=dict(
            assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.6, neg_iou_thr=0.3, min_pos_iou=0.3),
            sampler=dict(type='RandomSampler', num=64, pos_fraction=0.5, add_gt_as_proposals=False),
            allowed_border=-1,
        ),
        rpn_proposal=dict(nms_pre=500, max_per_img=100, nms=dict(type='nms', iou_threshold=0.7)),
        rcnn=dict(
            assigner=dict(
                type='MaxIoUAssigner',
                pos_iou_thr=0.5,
                neg_iou_thr=0.5,
                min_pos_iou=0.5,
                match_low_quality=False,
            ),
            sampler=dict(type='RandomSampler', num=64, pos_fraction=0.25),
        ),
    ),
    test_cfg=dict(
        rpn=dict(nms_pre=500, max_per_img=60, nms=dict(type='nms', iou_threshold=0.7)),
        rcnn=dict(score_thr=0.001, nms=dict(type='nms', iou_threshold=0.5), max_per_img=50),
    ),
)
