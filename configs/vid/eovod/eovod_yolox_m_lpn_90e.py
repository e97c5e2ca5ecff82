# EOVOD on YOLOX-M with the location prior.
# Expected on ImageNet VID val: COCO AP 53.3, AP50 75.1, AP75 58.1 (paper); 56.1 AP after 10 epochs
# from COCO weights (its authors' repetition). Expected AP50 of the VID protocol: not published. Not
# trained here.
# Schedule: 90 epochs, see schedules/yolox_90e.py; 8 GPUs x 8 clips of three frames.
_base_ = [
    '../../_base_/models/eovod_yolox_m.py',
    '../../_base_/datasets/imagenet_vid_yolox_clips.py',
    '../../_base_/schedules/yolox_90e.py',
]
