# EOVOD on FCOS R-101 with both priors. The size prior has no weights: those of the lpn config
# serve.
# Expected on ImageNet VID val: COCO AP 53.8, AP50 76.9, AP75 58.9 (paper, interval 7, margin 0);
# 50.9, 75.5, 55.7 in its authors' repetition with margin 0. Expected AP50 of the VID protocol: not
# published. Not trained here.
# Schedule: 9 epochs, lr / 10 after epoch 6; SGD 0.001 at 8 GPUs x 1 clip.
_base_ = 'eovod_fcos_r101_lpn_9x.py'
model = dict(size_prior=dict(interval=7, margin=1))
