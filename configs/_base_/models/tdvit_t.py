# TDViT-T on Faster R-CNN FPN: the Swin-T detector, the last half of each stage's blocks temporal,
# trained from the ImageNet-1K weights of Swin-T.
_base_ = 'faster_rcnn_swint_fpn.py'

_base_.model.backbone.update(
    type='TDViTTransformer',
    attention='joint',  # 'cross' is the paper's block
    dilations=(4, 8, 16, 32),
    init_cfg=dict(type='Pretrained', checkpoint='swin_tiny_patch4_window7_224.pth'),
)
model = dict(
    _delete_=True,
    type='TDViT',
    data_preprocessor=_base_.model.pop('data_preprocessor'),
    detector=_base_.model,
)
