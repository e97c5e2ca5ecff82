# EOVOD on YOLOX-M: the classification looks at the objects of the references, where objects were.
_base_ = 'yolox_m.py'

model = dict(
    _delete_=True,
    type='EOVOD',
    data_preprocessor=_base_.model.pop('data_preprocessor'),
    detector=_base_.model,
    location_prior=dict(score_thr=0.3, validate_on='score', box_ratio=0.8),
    memory=dict(num_keys=4096),
    aggregator=dict(num_heads=16, site='neck', shared=True, branches='cls'),
)
