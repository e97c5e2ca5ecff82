# MEGA on the C4 detector of faster_rcnn_r50_c4.py: regions of a frame see those of 25 frames around
# it, of 10 global frames, and what earlier windows left. `legacy=True` tests as the original does
# (a new global frame at every step, twice the cost).
_base_ = 'faster_rcnn_r50_c4.py'

_base_.model.roi_head.bbox_head.update(
    type='RelationBBoxHead',
    aggregator=dict(
        type='MegaAggregator',
        in_channels=1024,
        num_attention_blocks=16,
        stages=3,
        global_stages=1,
        distilled=15,
    ),
    topk=75,
)
model = dict(
    _delete_=True,
    type='MEGA',
    window=25,
    num_global=10,
    train_local=2,
    train_memory=3,
    train_global=2,
    data_preprocessor=_base_.model.pop('data_preprocessor'),
    detector=_base_.model,
)
