# Faster R-CNN, Swin-T FPN, one frame at a time.
# Expected AP50 on ImageNet VID val: not published. Not trained here.
# Schedule: 6 epochs, lr / 10 after epoch 4; AdamW 2.5e-5 at 8 GPUs x 1 image, 13,711 iterations per
# epoch, from the COCO Mask R-CNN 1x weights of Swin-T (see stpn_swint_adam_9x.py).
_base_ = [
    '../../_base_/models/faster_rcnn_swint_fpn.py',
    '../../_base_/datasets/imagenet_vid_single_frame.py',
    '../../_base_/schedules/adamw_6x.py',
    '../../_base_/default_runtime.py',
]
