# SELSA on the narrow ResNet-18 detector of the sample videos.
_base_ = 'faster_rcnn_r18_narrow.py'

_base_.model.roi_head.type = 'SelsaRoIHead'
_base_.model.roi_head.bbox_head.update(
    type='SelsaBBoxHead',
    aggregator=dict(type='SelsaAggregator', in_channels=256, num_attention_blocks=4),
)
model = dict(
    _delete_=True,
    type='SELSA',
    data_preprocessor=_base_.model.pop('data_preprocessor'),
    detector=_base_.model,
)
