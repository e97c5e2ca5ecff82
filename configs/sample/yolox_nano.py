# Narrow YOLOX, from scratch on the sample videos. Results:
# configs/sample/README.md.
_base_ = [
    '../_base_/models/yolox_nano.py',
    '../_base_/datasets/sample_vid_single_frame.py',
    '../_base_/schedules/sample_5x.py',
    '../_base_/default_runtime.py',
]
