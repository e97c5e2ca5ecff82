# STPN on the trained faster_rcnn_swin_tiny of the sample videos; train that first. Results:
# configs/sample/README.md.
_base_ = [
    '../_base_/models/stpn_swin_tiny_narrow.py',
    '../_base_/datasets/sample_vid_multi_frame.py',
    '../_base_/schedules/sample_2x_swin.py',
    '../_base_/default_runtime.py',
]
load_from = 'work_dirs/faster_rcnn_swin_tiny/epoch_5.pth'
