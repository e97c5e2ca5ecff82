# EOVOD on FCOS R-101 with both priors. The size prior has no weights: those of the lpn config
# serve.
# Expected on ImageNet VID val: COCO AP 53.8, AP50 76.9, AP75 58.9 (paper, interval 7, margin 0);
# 50.9, 75.5, 55.7 in its authors' repetition with margin 0. Expected AP50 of the VID protocol: not
# published. Not trained here.
# Schedule: 9 epochs, lr / 10 after epoch 6; SGD 0.001 at 8 GPUs x 1 clip.
# Hours and memory: not published.
_base_ = [
    '../../_base_/models/eovod_fcos_r50.py',
    '../../_base_/datasets/imagenet_vid_multi_frame.py',
    '../../_base_/schedules/sgd_9x.py',
    '../../_base_/default_runtime.py',
]
refs = dict(num_ref_imgs=14, frame_range=[-7, 7], method='test_with_adaptive_stride')
val_dataloader = dict(dataset=dict(ref_img_sampler=dict(_delete_=True, **refs)))
test_dataloader = val_dataloader
model = dict(
    detector=dict(
        backbone=dict(
            depth=101,
            init_cfg=dict(
                checkpoint='https://download.openmmlab.com/pretrain/third_party/'
                'resnet101_caffe-3ad79236.pth'
            ),
        )
    ),
    size_prior=dict(interval=7, margin=1),
)
