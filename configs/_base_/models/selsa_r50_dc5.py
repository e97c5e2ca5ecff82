# SELSA on Faster R-CNN R-50 DC5: region features attend to those of the whole video.
_base_ = 'faster_rcnn_r50_dc5.py'

_base_.model.roi_head.type = 'SelsaRoIHead'
_base_.model.roi_head.bbox_head.update(
    type='SelsaBBoxHead',
    aggregator=dict(type='SelsaAggregator', in_channels=1024, num_attention_blocks=16),
)
model = dict(
    _delete_=True,
    type='SELSA',
    data_preprocessor=_base_.model.pop('data_preprocessor'),
    detector=_base_.model,
)
