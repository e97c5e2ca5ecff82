# SELSA on STPN on the trained faster_rcnn_swin_tiny of the sample videos: 4 references in training
# and 28 in testing, half of them for prompts. Not measured yet.
_base_ = [
    '../_base_/models/stpn_selsa_swin_tiny_narrow.py',
    '../_base_/datasets/sample_vid_multi_frame.py',
    '../_base_/schedules/sample_2x_swin.py',
    '../_base_/default_runtime.py',
]
for _dataset in _base_.train_dataloader.dataset.datasets:
    _dataset.ref_img_sampler.num_ref_imgs = 4
del _dataset
train_dataloader = _base_.train_dataloader
val_dataloader = dict(dataset=dict(ref_img_sampler=dict(num_ref_imgs=28, frame_range=[-14, 14])))
test_dataloader = val_dataloader
load_from = 'work_dirs/faster_rcnn_swin_tiny/epoch_5.pth'
