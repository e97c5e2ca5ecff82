# The sample videos of tools/make_sample_vid.py, which have the layout and the classes of ImageNet
# VID and pass the same converters: clips of imagenet_vid_clips.py at 192 x 115 pixels, in training
# with references from anywhere in the video.
_base_ = 'imagenet_vid_clips.py'

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
_vid, _det = _base_.train_dataloader.dataset.datasets
_vid.ref_img_sampler.frame_range = 1000
for _dataset in (_vid, _det, _base_.val_dataloader.dataset, _base_.test_dataloader.dataset):
    _dataset.pipeline = test_pipeline if _dataset.get('test_mode') else train_pipeline
    for _name in ('ann_file', 'img_prefix'):
        _dataset[_name] = _dataset[_name].replace(_base_.data_root, data_root)
for _loader in (_base_.train_dataloader, _base_.val_dataloader, _base_.test_dataloader):
    _loader.num_workers = 0  # decoding these frames takes less time than handing them over
    _loader.pop('persistent_workers')
_base_.train_dataloader.batch_size = 4
del _vid, _det, _dataset, _name, _loader
train_dataloader = _base_.train_dataloader
val_dataloader = _base_.val_dataloader
test_dataloader = _base_.test_dataloader
