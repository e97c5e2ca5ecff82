# MAMBA (instance level) on the narrow ResNet-18, from scratch on the sample videos. Results:
# configs/sample/README.md.
_base_ = [
    '../_base_/models/mamba_r18_narrow.py',
    '../_base_/datasets/sample_vid_multi_frame.py',
    '../_base_/schedules/sample_5x.py',
    '../_base_/default_runtime.py',
]
