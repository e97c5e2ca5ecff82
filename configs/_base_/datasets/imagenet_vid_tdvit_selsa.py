# ImageNet VID as SELSA on TDViT uses it: the clips of imagenet_vid_tdvit.py with two references
# for the regions, one within 9 frames before the key frame and one after it. Testing: 14 over the
# video.
_base_ = 'imagenet_vid_tdvit.py'

for _dataset in _base_.train_dataloader.dataset.datasets:
    _dataset.ref_img_sampler = dict(
        method='combined',
        samplers=[
            dict(method='stagewise_uniform', frame_range=[4, 8, 16, 32]),
            dict(method='bilateral_uniform', num_ref_imgs=2, frame_range=9, filter_key_img=True),
        ],
    )
del _dataset
train_dataloader = _base_.train_dataloader

val_dataloader = dict(
    dataset=dict(
        ref_img_sampler=dict(
            _delete_=True, method='test_with_adaptive_stride', num_ref_imgs=14, frame_range=[-7, 7]
        )
    )
)
test_dataloader = val_dataloader
