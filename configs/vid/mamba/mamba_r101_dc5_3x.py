# MAMBA, instance level, R-101 DC5.
# Expected AP50 on ImageNet VID val: not published for 3 epochs.
# Schedule: 3 epochs, lr / 10 after epoch 2; SGD 0.001 at 8 GPUs x 1 clip, 13,711 iterations per
# epoch.
# Hours and memory: as mamba_r101_dc5_6x.py per iteration (0.165 s on 8 A100, 5.3 GB).
_base_ = [
    '../../_base_/models/mamba_r50_dc5.py',
    '../../_base_/datasets/imagenet_vid_multi_frame.py',
    '../../_base_/schedules/sgd_3x.py',
    '../../_base_/default_runtime.py',
]
model = dict(
    detector=dict(
        backbone=dict(
            depth=101, init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet101')
        )
    )
)

# training: one reference from anywhere before the key frame, one from anywhere after it
_base_.train_dataloader.dataset.datasets[0].ref_img_sampler.frame_range = 1000
train_dataloader = _base_.train_dataloader
# testing: 14 references over the whole video at its first frame, the other frames in random order
val_dataloader = dict(
    dataset=dict(
        shuffle_video_frames=True,
        ref_img_sampler=dict(
            _delete_=True,
            num_ref_imgs=14,
            frame_range=[-7, 7],
            method='test_with_adaptive_stride',
        ),
    )
)
test_dataloader = val_dataloader
