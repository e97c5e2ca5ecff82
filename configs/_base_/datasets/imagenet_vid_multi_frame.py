# The clips of imagenet_vid_clips.py; testing with a sliding window of 15 frames to each side.
_base_ = 'imagenet_vid_clips.py'

val_dataloader = dict(
    dataset=dict(
        ref_img_sampler=dict(
            method='test_with_fix_stride', num_ref_imgs=30, frame_range=[-15, 15], stride=1
        )
    )
)
test_dataloader = val_dataloader
