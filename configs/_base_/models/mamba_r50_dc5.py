# MAMBA, instance level, on Faster R-CNN R-50 DC5: SELSA's attention on a bounded memory.
_base_ = 'faster_rcnn_r50_dc5.py'

_base_.model.roi_head.type = 'MambaRoIHead'
_base_.model.roi_head.bbox_head.update(
    type='MambaBBoxHead',
    topk=75,
    aggregator=dict(type='MambaAggregator', in_channels=1024, num_attention_blocks=16),
)
model = dict(
    _delete_=True,
    type='MAMBA',
    data_preprocessor=_base_.model.pop('data_preprocessor'),
    detector=_base_.model,
)
