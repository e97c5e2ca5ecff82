# ImageNet VID, clips: a key frame with references. Training: 2 references, one within 9 frames
# before the key and one after it; a DET image stands for its own references. Testing: 14
# references over the whole video, at its first frame.
#
# The data: labelled VID frames (15 per video) and the DET images of the 30 classes, 109,682 in all,
# and the 555 validation videos. The annotation files are made by tools/convert_datasets/ilsvrc/;
# paths are relative to the working directory.
dataset_type = 'ImagenetVIDDataset'
data_root = 'data/ILSVRC/'

train_pipeline = [
    dict(type='LoadFrames'),
    dict(type='LoadAnnotations'),
    dict(type='Resize', scale=(1000, 600), keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackClip'),
]
test_pipeline = [
    dict(type='LoadFrames'),
    dict(type='Resize', scale=(1000, 600), keep_ratio=True),
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
                ref_img_sampler=dict(
                    method='bilateral_uniform', num_ref_imgs=2, frame_range=9, filter_key_img=True
                ),
                pipeline=train_pipeline,
            ),
            dict(
                type=dataset_type,
                ann_file=data_root + 'annotations/imagenet_det_30plus1cls.json',
                img_prefix=data_root + 'Data/DET',
                load_as_video=False,
                ref_img_sampler=dict(
                    method='bilateral_uniform', num_ref_imgs=2, frame_range=0, filter_key_img=False
                ),
                pipeline=train_pipeline,
            ),
        ],
    ),
)
val_dataloader = dict(
    batch_size=1,
    # A worker decodes and resizes about 100 frames/s of 1280 x 720: six are enough for a model that
    # takes 2 ms per frame on a GPU.
    num_workers=6,
    persistent_workers=True,
    sampler=dict(type='VideoSampler'),
    collate_fn=dict(type='collate_clips'),
    dataset=dict(
        type=dataset_type,
        ann_file=data_root + 'annotations/imagenet_vid_val.json',
        img_prefix=data_root + 'Data/VID',
        ref_img_sampler=dict(
            method='test_with_adaptive_stride', num_ref_imgs=14, frame_range=[-7, 7]
        ),
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='VideoDetectionMetric')  # against the annotations of the data set
test_evaluator = val_evaluator
