# ImageNet VID as STPN trains on it: clips of imagenet_vid_multi_frame.py, resized to a random
# height, half of them after a random crop per frame. Testing: 14 references over the whole video.
_base_ = 'imagenet_vid_multi_frame.py'

sides = (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)
train_pipeline = [
    dict(type='LoadFrames'),
    dict(type='LoadAnnotations'),
    dict(type='RandomFlip', prob=0.5),
    dict(
        type='RandomChoice',
        transforms=[
            [dict(type='RandomChoiceResize', scales=[(1333, side) for side in sides])],
            [
                dict(type='RandomChoiceResize', scales=[(1333, side) for side in (400, 500, 600)]),
                # key frame and references are cropped apart, as released; False: one crop for all
                dict(type='RandomCrop', min_size=384, max_size=600, per_frame=True),
                dict(type='PadToLargest'),
                dict(type='RandomChoiceResize', scales=[(1333, side) for side in sides]),
            ],
        ],
    ),
    dict(type='PackClip'),
]
for _dataset in _base_.train_dataloader.dataset.datasets:
    _dataset.pipeline = train_pipeline
del _dataset
train_dataloader = _base_.train_dataloader

val_dataloader = dict(
    dataset=dict(
        ref_img_sampler=dict(
            _delete_=True,
            num_ref_imgs=14,
            frame_range=[-7, 7],
            method='test_with_adaptive_stride',
        )
    )
)
test_dataloader = val_dataloader
