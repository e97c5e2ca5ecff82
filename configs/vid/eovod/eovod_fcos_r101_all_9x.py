# EOVOD on FCOS R-101: every cell looks at a bank, as in the released model, but only the classes
# see what it takes; boxes and centerness come from plain maps. No size prior.
# Expected on ImageNet VID val: COCO AP 54.0, AP50 79.2, AP75 59.3 (its authors' repetition).
# Expected AP50 of the VID protocol: 79.7 (same source). Not trained here.
# Schedule as eovod_fcos_r101_released_9x.py.
_base_ = 'eovod_fcos_r101_released_9x.py'
model = dict(detector=dict(bbox_head=dict(centerness_on_reg=True)), aggregator=dict(branches='cls'))
