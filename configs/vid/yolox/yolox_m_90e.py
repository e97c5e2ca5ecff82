# YOLOX-M, one frame at a time, at 640 x 640.
# Expected on ImageNet VID val: COCO AP 49.4, AP50 69.4, AP75 55.4 (the paper of EOVOD; 80 epochs at
# batch 32); 55.5 AP after 10 epochs from COCO weights (its authors' repetition). Expected AP50 of
# the VID protocol: not published. Not trained here.
# Schedule: 90 epochs, see schedules/yolox_90e.py; 8 GPUs x 8 images.
_base_ = [
    '../../_base_/models/yolox_m.py',
    '../../_base_/datasets/imagenet_vid_yolox.py',
    '../../_base_/schedules/yolox_90e.py',
]
