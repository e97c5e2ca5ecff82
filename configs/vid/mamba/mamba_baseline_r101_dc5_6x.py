# The single-frame baseline of MAMBA's table: the same detector, data and schedule without any
# memory.
# Expected AP50: 75.4 in the paper (table 3, C4 detector). Not trained here on ImageNet VID.
_base_ = '../faster_rcnn/faster_rcnn_r101_dc5_6x.py'
