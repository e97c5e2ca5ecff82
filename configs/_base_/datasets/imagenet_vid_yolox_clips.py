# ImageNet VID as EOVOD trains YOLOX on it: mosaics of four clips and the average with a fifth, all
# frames of a clip mixed in one way.
_base_ = 'imagenet_vid_clips.py'

train_pipeline = [
    dict(type='LoadFrames'),
    dict(type='LoadAnnotations'),
    dict(type='Mosaic', size=640),
    dict(type='RandomAffine', scale=(0.1, 2.0), border=-320),
    dict(type='MixUp', size=640, scale=(0.8, 1.6)),
    dict(type='RandomHSV'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='Resize', scale=(640, 640), keep_ratio=True),
    dict(type='PackClip'),
]
test_pipeline = [
    dict(type='LoadFrames'),
    dict(type='Resize', scale=(640, 640), keep_ratio=True),
    dict(type='PackClip'),
]
_base_.train_dataloader.batch_size = 8
for _dataset in _base_.train_dataloader.dataset.datasets:
    _dataset.pipeline = train_pipeline
del _dataset
train_dataloader = _base_.train_dataloader
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
