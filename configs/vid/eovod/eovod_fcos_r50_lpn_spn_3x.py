# EOVOD on FCOS R-50 with both priors.
# Expected AP50 on ImageNet VID val: not published.
# Schedule: 3 epochs, lr / 10 after epoch 2; SGD 0.001 at 8 GPUs x 1 clip.
# Hours and memory: not published.
_base_ = [
    '../../_base_/models/eovod_fcos_r50.py',
    '../../_base_/datasets/imagenet_vid_multi_frame.py',
    '../../_base_/schedules/sgd_3x.py',
    '../../_base_/default_runtime.py',
]
refs = dict(num_ref_imgs=14, frame_range=[-7, 7], method='test_with_adaptive_stride')
val_dataloader = dict(dataset=dict(ref_img_sampler=dict(_delete_=True, **refs)))
test_dataloader = val_dataloader
model = dict(size_prior=dict(interval=7, margin=1))
