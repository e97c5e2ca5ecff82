# Faster R-CNN, R-50 FPN, one frame at a time.
# In 1.x faster_rcnn_r50_fpn_3x_vid.py, which others inherited and which was missing.
# Expected AP50 on ImageNet VID val: not published.
# Schedule: 3 epochs, lr / 10 after epoch 2; SGD 0.001 at 8 GPUs x 1 image, 13,711 iterations per
# epoch.
_base_ = [
    '../../_base_/models/faster_rcnn_r50_fpn.py',
    '../../_base_/datasets/imagenet_vid_single_frame.py',
    '../../_base_/schedules/sgd_3x.py',
    '../../_base_/default_runtime.py',
]
