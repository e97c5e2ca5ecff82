# TDViT on the narrow Swin of the sample videos: the same detector, half of whose blocks look 2 to 3
# (first stage) and 4 to 7 frames back. The videos have 20 to 26 frames.
_base_ = 'faster_rcnn_swin_tiny_narrow.py'

_base_.model.backbone.update(type='TDViTTransformer', attention='joint', dilations=(2, 4))
model = dict(
    _delete_=True,
    type='TDViT',
    data_preprocessor=_base_.model.pop('data_preprocessor'),
    detector=_base_.model,
)
