# MEGA on the narrow ResNet-18 detector of the sample videos: two stages, so that the layers of the
# single-frame head serve.
_base_ = 'faster_rcnn_r18_narrow.py'

_base_.model.roi_head.bbox_head.update(
    type='RelationBBoxHead',
    aggregator=dict(
        type='MegaAggregator',
        in_channels=256,
        num_attention_blocks=4,
        stages=2,
        distilled=6,
    ),
    topk=30,
)
model = dict(
    _delete_=True,
    type='MEGA',
    window=9,
    num_global=5,
    data_preprocessor=_base_.model.pop('data_preprocessor'),
    detector=_base_.model,
)
