# EOVOD with both priors on the trained yolox_nano of the sample videos; train that first.
# Results: configs/sample/README.md.
_base_ = [
    '../_base_/models/eovod_yolox_nano.py',
    '../_base_/datasets/sample_vid_multi_frame.py',
    '../_base_/schedules/sample_2x.py',
    '../_base_/default_runtime.py',
]
load_from = 'work_dirs/yolox_nano/epoch_5.pth'
