# TDViT-T+, joint attention: two more temporal blocks in the third stage, which start as copies.
# Expected AP50 on ImageNet VID val: 81.4 (fast 57.7, medium 80.0, slow 89.0).
#   Source: the authors' later code base, trained as here; the paper has 79.9 for its own block. Not
#   trained here. 48,448,056 parameters.
# Schedule as tdvit_t_joint_3x.py.
_base_ = 'tdvit_t_joint_3x.py'

model = dict(detector=dict(backbone=dict(depths=(2, 2, 8, 2), extra_blocks=2)))
