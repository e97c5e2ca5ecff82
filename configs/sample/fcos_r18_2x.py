# The control of eovod_fcos_r18.py: the trained fcos_r18 goes on, one frame at a time,
# for as many epochs as they get. Results: configs/sample/README.md.
_base_ = [
    '../_base_/models/fcos_r18_narrow.py',
    '../_base_/datasets/sample_vid_single_frame.py',
    '../_base_/schedules/sample_2x.py',
    '../_base_/default_runtime.py',
]
load_from = 'work_dirs/fcos_r18/epoch_5.pth'
