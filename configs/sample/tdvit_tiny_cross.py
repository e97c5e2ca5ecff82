# TDViT with the paper's block, otherwise tdvit_tiny.py. Not measured yet.
_base_ = 'tdvit_tiny.py'

model = dict(detector=dict(backbone=dict(attention='cross')))
