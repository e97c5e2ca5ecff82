# ImageNet VID as EOVOD trains CenterNet on it: clips within 512 x 512, moved, scaled and of other
# colours, all frames of a clip in one way.
_base_ = 'imagenet_vid_clips.py'

train_pipeline = [
    dict(type='LoadFrames'),
    dict(type='LoadAnnotations'),
    dict(type='Resize', scale=(512, 512), keep_ratio=True),
    # in place of the random crops and paddings of CenterNet, which have the same range of scales
    dict(type='RandomAffine', degrees=0, shear=0, translate=0.2, scale=(0.6, 1.4)),
    dict(type='RandomHSV'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackClip'),
]
test_pipeline = [
    dict(type='LoadFrames'),
    dict(type='Resize', scale=(512, 512), keep_ratio=True),
    dict(type='PackClip'),
]
_base_.train_dataloader.batch_size = 8
for _dataset in _base_.train_dataloader.dataset.datasets:
    _dataset.pipeline = train_pipeline
del _dataset
train_dataloader = _base_.train_dataloader
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
