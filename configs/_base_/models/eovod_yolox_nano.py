# EOVOD with both priors on the narrow YOLOX of the sample videos.
_base_ = 'yolox_nano.py'

model = dict(
    _delete_=True,
    type='EOVOD',
    data_preprocessor=_base_.model.pop('data_preprocessor'),
    detector=_base_.model,
    location_prior=dict(),
    size_prior=dict(interval=7, margin=0),  # neighbours would nearly always be all three levels
    memory=dict(num_keys=1024),
    aggregator=dict(num_heads=4),
)
