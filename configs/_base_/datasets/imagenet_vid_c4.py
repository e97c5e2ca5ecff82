# ImageNet VID for the C4 detector, MEGA and RDN: frames are resized as in maskrcnn-benchmark. MEGA
# and RDN choose the other frames of a clip themselves. The data are those of
# imagenet_vid_single_frame.py.
dataset_type = 'ImagenetVIDDataset'
data_root = 'data/ILSVRC/'

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

train_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='ClipSampler', shuffle=True),
    batch_sampler=dict(type='AspectRatioBatchSampler'),
    collate_fn=dict(type='collate_clips'),
    dataset=dict(
        type='ConcatDataset',
        datasets=[
            dict(
                type=dataset_type,
                ann_file=data_root + 'annotations/imagenet_vid_train.json',
                img_prefix=data_root + 'Data/VID',
                ref_img_sampler=None,
                pipeline=train_pipeline,
            ),
            dict(
                type=dataset_type,
                ann_file=data_root + 'annotations/imagenet_det_30plus1cls.json',
                img_prefix=data_root + 'Data/DET',
                load_as_video=False,
                ref_img_sampler=None,
                pipeline=train_pipeline,
            ),
        ],
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=False,
    sampler=dict(type='VideoSampler'),
    collate_fn=dict(type='collate_clips'),
    dataset=dict(
        type=dataset_type,
        ann_file=data_root + 'annotations/imagenet_vid_val.json',
        img_prefix=data_root + 'Data/VID',
        ref_img_sampler=None,
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(
    type='VideoDetectionMetric', ann_file=data_root + 'annotations/imagenet_vid_val.json'
)
test_evaluator = val_evaluator
