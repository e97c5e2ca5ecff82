# EOVOD on FCOS R-50 as it was released (FCOSAtt): every cell of the last backbone maps looks at a
# bank of cells that each frame adds to. The R-50 has attention on C3 to C5, the R-101 on C4 and C5.
_base_ = 'fcos_r50_fpn.py'

model = dict(
    _delete_=True,
    type='EOVOD',
    data_preprocessor=_base_.model.pop('data_preprocessor'),
    detector=_base_.model,
    location_prior=dict(queries='all', score_thr=0.3),
    memory=dict(update=True, max_length=20000, key_length=2000, train_keys=2000),
    aggregator=dict(num_heads=16, site='backbone', levels=(1, 2, 3), shared=False, branches='all'),
)
