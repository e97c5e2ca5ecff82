# RDN on the C4 detector of faster_rcnn_r50_c4.py: regions of a frame see those of 37 frames around
# it. `advanced_stages=1` of the aggregator is the advanced model.
_base_ = 'faster_rcnn_r50_c4.py'

_base_.model.roi_head.bbox_head.update(
    type='RelationBBoxHead',
    aggregator=dict(
        type='RDNAggregator',
        in_channels=1024,
        num_attention_blocks=16,
        stages=2,
        advanced_stages=0,
        distilled=15,
    ),
    topk=75,
)
model = dict(
    _delete_=True,
    type='RDN',
    window=37,
    train_local=2,
    data_preprocessor=_base_.model.pop('data_preprocessor'),
    detector=_base_.model,
)
