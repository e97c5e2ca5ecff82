# EOVOD on FCOS R-101: every cell looks at a bank, as in the released model, but only the classes
# see what it takes; boxes and centerness come from plain maps. With the size prior.
# Expected on ImageNet VID val: COCO AP 53.8, AP50 78.9, AP75 59.2 (its authors' repetition).
# Expected AP50 of the VID protocol: not published. Not trained here.
# Schedule: 9 epochs, lr / 10 after epoch 6; SGD 0.001 at 8 GPUs x 1 clip.
_base_ = 'eovod_fcos_r101_all_9x.py'
model = dict(size_prior=dict(interval=7, margin=1))
