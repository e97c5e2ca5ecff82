# Faster R-CNN, narrow Swin, from scratch on the sample videos. Results: configs/sample/README.md.
_base_ = [
    '../_base_/models/faster_rcnn_swin_tiny_narrow.py',
    '../_base_/datasets/sample_vid_single_frame.py',
    '../_base_/schedules/sample_5x_swin.py',
    '../_base_/default_runtime.py',
]
