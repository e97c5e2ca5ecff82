# The clips of imagenet_vid_tdvit_plain.py with the augmentation of Swin: all frames of a clip
# resized to a random height, half of the clips after a random crop, the same for all frames.
_base_ = 'imagenet_vid_tdvit_plain.py'

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
                dict(type='RandomCrop', min_size=384, max_size=600),
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
