# TDViT, joint attention, on the trained faster_rcnn_swin_tiny of the sample videos; train that
# first. Its control is faster_rcnn_swin_tiny_2x.py. Results:
# configs/sample/README.md.
_base_ = [
    '../_base_/models/tdvit_tiny_narrow.py',
    '../_base_/datasets/sample_vid_multi_frame.py',
    '../_base_/schedules/sample_2x_swin.py',
    '../_base_/default_runtime.py',
]
for _dataset in _base_.train_dataloader.dataset.datasets:
    _dataset.ref_img_sampler = dict(method='stagewise_uniform', frame_range=[2, 4])
del _dataset
train_dataloader = _base_.train_dataloader
val_dataloader = dict(dataset=dict(ref_img_sampler=None))
test_dataloader = val_dataloader
load_from = 'work_dirs/faster_rcnn_swin_tiny/epoch_5.pth'
