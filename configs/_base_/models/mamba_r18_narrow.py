# MAMBA, instance level, on the narrow ResNet-18 detector of the sample videos.
_base_ = 'faster_rcnn_r18_narrow.py'

_base_.model.roi_head.type = 'MambaRoIHead'
_base_.model.roi_head.bbox_head.update(
    type='MambaBBoxHead',
    topk=20,
    aggregator=dict(type='MambaAggregator', in_channels=256, num_attention_blocks=4),
)
model = dict(
    _delete_=True,
    type='MAMBA',
    data_preprocessor=_base_.model.pop('data_preprocessor'),
    detector=_base_.model,
)
