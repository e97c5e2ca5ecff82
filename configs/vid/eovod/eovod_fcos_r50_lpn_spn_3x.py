# EOVOD on FCOS R-50 with both priors.
# Expected AP50 on ImageNet VID val: not published.
# Schedule as eovod_fcos_r50_lpn_3x.py.
_base_ = 'eovod_fcos_r50_lpn_3x.py'
model = dict(size_prior=dict(interval=7, margin=1))
