# ImageNet VID for the C4 detector, MEGA and RDN: frames are resized as in maskrcnn-benchmark. MEGA
# and RDN choose the other frames of a clip themselves.
_base_ = 'imagenet_vid_single_frame.py'

train_pipeline = [
    dict(type='LoadFrames'),
    dict(type='LoadAnnotations'),
    dict(type='Resize', scale=(1000, 600), keep_ratio=True, backend='pillow'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackClip'),
]
test_pipeline = [
    dict(type='LoadFrames'),
    dict(type='Resize', scale=(1000, 600), keep_ratio=True, backend='pillow'),
    dict(type='PackClip'),
]
for _dataset in _base_.train_dataloader.dataset.datasets:
    _dataset.pipeline = train_pipeline
del _dataset
train_dataloader = _base_.train_dataloader
val_dataloader = dict(num_workers=2, persistent_workers=False, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
