# Faster R-CNN, Swin-T with a feature pyramid, trained from the COCO detection weights of Swin.
_base_ = 'faster_rcnn_r50_fpn.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='SwinTransformer',
        embed_dims=96,
        depths=(2, 2, 6, 2),
        num_heads=(3, 6, 12, 24),
        window_size=7,
        drop_path_rate=0.2,
        init_cfg=dict(type='Pretrained', checkpoint='mask_rcnn_swin_tiny_patch4_window7.pth'),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
