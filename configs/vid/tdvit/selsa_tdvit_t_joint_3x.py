# SELSA on TDViT-T, joint attention: references of the stages in the backbone, references spread
# over the video in the region head.
# Expected AP50 on ImageNet VID val: 83.8 (fast 67.7, medium 84.3, slow 88.4).
#   Source: the authors' later code base, trained as here, where SELSA on the plain Swin-T had 84.5.
#   The paper has 83.9 for its own block. Not trained here.
# Schedule as tdvit_t_joint_3x.py, with clips of 7 frames.
_base_ = [
    '../../_base_/models/selsa_tdvit_t.py',
    '../../_base_/datasets/imagenet_vid_tdvit_selsa.py',
    '../../_base_/schedules/adamw_3x.py',
    '../../_base_/default_runtime.py',
]
