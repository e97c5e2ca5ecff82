# Faster R-CNN, narrow ResNet-18, from scratch on the sample videos: the model of `make
# quickstart`.
_base_ = [
    '../_base_/models/faster_rcnn_r18_narrow.py',
    '../_base_/datasets/sample_vid_single_frame.py',
    '../_base_/schedules/sample_5x.py',
    '../_base_/default_runtime.py',
]
expected = dict(metric='vid/AP50', value=0.5, tolerance=0.1)
