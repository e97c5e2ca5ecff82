# MAMBA, both levels, R-101 DC5: cells of the backbone map and region features.
# Expected AP50: 84.6 in the paper (table 3: baseline 75.4, pixel 81.8, instance 83.7, both 84.6),
#   with a C4 detector and its own schedule. The pixel level was never released; its choices here
#   follow the authors' later re-implementation. Not trained here on ImageNet VID.
# One epoch at batch 8, published by those authors: baseline 66.0, pixel 72.6, instance 72.1, both
# 75.6.
# Schedule, hours, memory: as mamba_r101_dc5_6x.py; the cost of the pixel level is not published
# for DC5.
_base_ = 'mamba_r101_dc5_6x.py'
model = dict(
    pixel_memory=dict(type='PixelMemory', in_channels=2048, num_attention_blocks=16),
)
