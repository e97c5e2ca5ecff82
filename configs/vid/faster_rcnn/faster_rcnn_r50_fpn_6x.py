# Faster R-CNN, R-50 FPN, one frame at a time.
# Expected AP50 on ImageNet VID val: not published.
# Schedule: 6 epochs, lr / 10 after epoch 4; SGD 0.001 at 8 GPUs x 1 image, 13,711 iterations per
# epoch.
_base_ = [
    '../../_base_/models/faster_rcnn_r50_fpn.py',
    '../../_base_/datasets/imagenet_vid_single_frame.py',
    '../../_base_/schedules/sgd_6x.py',
    '../../_base_/default_runtime.py',
]
