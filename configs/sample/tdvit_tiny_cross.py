# TDViT with the paper's block, otherwise tdvit_tiny.py. Results:
# configs/sample/README.md.
_base_ = 'tdvit_tiny.py'

model = dict(detector=dict(backbone=dict(attention='cross')))
