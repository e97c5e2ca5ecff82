# MEGA on the trained faster_rcnn_r18 of the sample videos; train that first. Results:
# configs/sample/README.md.
_base_ = [
    '../_base_/models/mega_r18_narrow.py',
    '../_base_/datasets/sample_vid_single_frame.py',
    '../_base_/schedules/sample_2x.py',
    '../_base_/default_runtime.py',
]
load_from = 'work_dirs/faster_rcnn_r18/epoch_5.pth'
