# Faster R-CNN, R-50 DC5, one frame at a time: the baseline of SELSA R-50.
# Expected AP50 on ImageNet VID val: not published.
# Schedule: 3 epochs, lr / 10 after epoch 2; SGD 0.001 at 8 GPUs x 1 image, 13,711 iterations per
# epoch.
_base_ = [
    '../../_base_/models/faster_rcnn_r50_dc5.py',
    '../../_base_/datasets/imagenet_vid_single_frame.py',
    '../../_base_/schedules/sgd_3x.py',
    '../../_base_/default_runtime.py',
]
