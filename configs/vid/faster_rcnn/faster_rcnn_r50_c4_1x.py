# Faster R-CNN, R-50 C4, one frame at a time: the baseline of MEGA and RDN.
# Expected AP50 on ImageNet VID val: 71.8.
#   Source: mega.pytorch README (its evaluator; see README.md). Not trained here. Its weights load
#   after `tools/model_converters/convert_checkpoint.py --from mega IN.pth OUT.pth`.
# Schedule: 4 epochs, lr / 10 after epoch 3; SGD 0.002 at 8 GPUs x 1 image.
_base_ = [
    '../../_base_/models/faster_rcnn_r50_c4.py',
    '../../_base_/datasets/imagenet_vid_c4.py',
    '../../_base_/schedules/sgd_c4_1x.py',
    '../../_base_/default_runtime.py',
]
