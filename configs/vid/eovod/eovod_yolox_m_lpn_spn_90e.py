# EOVOD on YOLOX-M with both priors.
# Expected on ImageNet VID val: COCO AP 52.7, AP50 74.5, AP75 56.7 (paper); 55.4 AP after 10 epochs
# from COCO weights (its authors' repetition). Expected AP50 of the VID protocol: not published. Not
# trained here.
# Schedule as eovod_yolox_m_lpn_90e.py.
_base_ = 'eovod_yolox_m_lpn_90e.py'
model = dict(size_prior=dict(interval=7, margin=0))
