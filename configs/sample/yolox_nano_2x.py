# The control of eovod_yolox_nano.py: the trained yolox_nano goes on, one frame at a time,
# for as many epochs as they get. Results: configs/sample/README.md.
_base_ = [
    '../_base_/models/yolox_nano.py',
    '../_base_/datasets/sample_vid_single_frame.py',
    '../_base_/schedules/sample_2x.py',
    '../_base_/default_runtime.py',
]
load_from = 'work_dirs/yolox_nano/epoch_5.pth'
