# ImageNet VID as STPN trains on it: clips of imagenet_vid_clips.py, resized to a random
# height, half of them after a random crop per frame.
_base_ = 'imagenet_vid_clips.py'

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
