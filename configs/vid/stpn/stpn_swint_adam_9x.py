# STPN, Swin-T FPN, attention predictor (the released model).
# Expected AP50 on ImageNet VID val: 85.15 (fast 64.1, medium 84.1, slow 91.4).
#   Source: README of vfe.pytorch 1.x (85.2) and the log of the released epoch_9_model.pth; VID
#   protocol. A repetition by its authors' later code base reached 84.54. Not trained here.
# Schedule: 9 epochs, lr / 10 after epoch 6; AdamW 2.5e-5 at 8 GPUs x 1 clip, 13,711 iterations per
# epoch, from the COCO Mask R-CNN 1x weights of Swin-T (mask_rcnn_swin_tiny_patch4_window7.pth,
# release v1.0.2 of Microsoft's detection repository): put the file beside or set `init_cfg`.
# Published: 0.168 s per iteration on 8 A100 40 GB; 3.9 GB per GPU in the repetition.
_base_ = [
    '../../_base_/models/stpn_swint.py',
    '../../_base_/datasets/imagenet_vid_stpn.py',
    '../../_base_/schedules/adamw_9x.py',
    '../../_base_/default_runtime.py',
]
