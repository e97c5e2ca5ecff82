# SELSA on maps that a pixel memory enhanced: a composition, no class of its own. On the trained
# faster_rcnn_r18 of the sample videos; train that first. Not measured yet.
_base_ = [
    '../_base_/models/selsa_r18_narrow.py',
    '../_base_/datasets/sample_vid_multi_frame.py',
    '../_base_/schedules/sample_2x.py',
    '../_base_/default_runtime.py',
]
model = dict(
    pixel_memory=dict(
        type='PixelMemory',
        in_channels=128,
        num_attention_blocks=4,
        stride=8,
        memory_cfg=dict(max_length=4000, key_length=400),
        train_cells=100,
        cells_per_box=30,
        cells_per_frame=150,
        fallback_cells=20,
    )
)
load_from = 'work_dirs/faster_rcnn_r18/epoch_5.pth'
