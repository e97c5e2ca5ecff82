# TDViT-S+, joint attention: two more temporal blocks in the third stage, which start as copies.
# Expected AP50: nobody published joint attention in it; the paper has 84.1 for its own block. Not
# trained here. 69,765,960 parameters. Schedule as tdvit_t_joint_3x.py.
_base_ = 'tdvit_s_joint_3x.py'

model = dict(detector=dict(backbone=dict(depths=(2, 2, 20, 2), extra_blocks=2)))
