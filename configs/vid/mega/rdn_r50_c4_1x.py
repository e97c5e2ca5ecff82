# RDN, R-50 C4, basic stage: 37 frames around the key frame.
# Expected AP50 on ImageNet VID val: 76.7.
#   Source: mega.pytorch README (its evaluator; see README.md). Not trained here. Its weights load
#   after `tools/model_converters/convert_checkpoint.py --from mega IN.pth OUT.pth`.
# To test exactly as the original does: `--cfg-options model.legacy=True`.
# Schedule: 4 epochs, lr / 10 after epoch 3; SGD 0.002 at 8 GPUs x 1 clip.
_base_ = [
    '../../_base_/models/rdn_r50_c4.py',
    '../../_base_/datasets/imagenet_vid_c4.py',
    '../../_base_/schedules/sgd_c4_1x.py',
    '../../_base_/default_runtime.py',
]
