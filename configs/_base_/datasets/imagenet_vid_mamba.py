# ImageNet VID as MAMBA uses it: clips of imagenet_vid_multi_frame.py. Training: one reference from
# anywhere before the key frame, one from anywhere after it. Testing: 14 references over the whole
# video at its first frame, the other frames in random order.
_base_ = 'imagenet_vid_multi_frame.py'

_base_.train_dataloader.dataset.datasets[0].ref_img_sampler.frame_range = 1000
train_dataloader = _base_.train_dataloader
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
