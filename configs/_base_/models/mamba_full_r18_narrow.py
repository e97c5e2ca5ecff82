# MAMBA, both levels, on the narrow ResNet-18 detector of the sample videos. A map has 24 x 15
# cells.
_base_ = 'mamba_r18_narrow.py'
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
