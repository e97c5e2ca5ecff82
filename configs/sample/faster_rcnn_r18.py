# Faster R-CNN, narrow ResNet-18, from scratch on the sample videos: the model of `make quickstart`.
# Measured here, AP50 (VID): 0.728, 0.742, 0.746 with seeds 0, 1, 2 on one thread, 0.707 with seed 0
# on two, in 3 minutes.
_base_ = [
    '../_base_/models/faster_rcnn_r18_narrow.py',
    '../_base_/datasets/sample_vid_single_frame.py',
    '../_base_/schedules/sample_5x.py',
    '../_base_/default_runtime.py',
]
randomness = dict(seed=0, deterministic=False)
# what `make quickstart` must reach; other numbers of threads and CPUs round differently
expected = dict(metric='vid/AP50', value=0.73, tolerance=0.06)
