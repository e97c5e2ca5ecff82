# The sample videos of tools/make_sample_vid.py, clips of a key frame and two references
# (14 over the whole video in testing). They have the layout and the classes of ImageNet VID, pass
# the same converters and are trained on at 192 x 115 pixels.
dataset_type = 'ImagenetVIDDataset'
data_root = 'data/sample/'

train_pipeline = [
    dict(type='LoadFrames'),
    dict(type='LoadAnnotations'),
    dict(type='Resize', scale=(192, 128), keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackClip'),
]
test_pipeline = [
    dict(type='LoadFrames'),
    dict(type='Resize', scale=(192, 128), keep_ratio=True),
    dict(type='PackClip'),
]

train_dataloader = dict(
    batch_size=4,
    num_workers=0,  # decoding these frames takes less time than handing them over
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
                ref_img_sampler=dict(
                    num_ref_imgs=2,
                    frame_range=1000,
                    filter_key_img=True,
                    method='bilateral_uniform',
                ),
                pipeline=train_pipeline,
            ),
            dict(
                type=dataset_type,
                ann_file=data_root + 'annotations/imagenet_det_30plus1cls.json',
                img_prefix=data_root + 'Data/DET',
                load_as_video=False,
                ref_img_sampler=dict(
                    num_ref_imgs=2,
                    frame_range=0,
                    filter_key_img=False,
                    method='bilateral_uniform',
                ),
                pipeline=train_pipeline,
            ),
        ],
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='VideoSampler'),
    collate_fn=dict(type='collate_clips'),
    dataset=dict(
        type=dataset_type,
        ann_file=data_root + 'annotations/imagenet_vid_val.json',
        img_prefix=data_root + 'Data/VID',
        ref_img_sampler=dict(
            num_ref_imgs=14,
            frame_range=[-7, 7],
            method='test_with_adaptive_stride',
        ),
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(
    type='VideoDetectionMetric', ann_file=data_root + 'annotations/imagenet_vid_val.json'
)
test_evaluator = val_evaluator
