# TDViT-T, joint attention, Faster R-CNN FPN.
# Expected AP50 on ImageNet VID val: 80.8 and 80.3 (two seeds; fast 59.5, medium 80.5, slow 87.3).
#   Source: the authors' later code base, trained as here; VID protocol. Its Swin-T: 79.5, 79.6. The
#   paper has no joint attention. Not trained here. 44,895,072 parameters, those of Swin-T.
# Schedule: 3 epochs, lr / 10 after epoch 2; AdamW 2.5e-5 at 8 GPUs x 1 clip of 5 frames, 13,711
# iterations per epoch, from the ImageNet-1K weights of Swin-T (swin_tiny_patch4_window7_224.pth,
# release v1.0.0 of Microsoft's repository): put the file beside or set `init_cfg`.
# Published: 0.24 s per iteration on 4 GH200 x 2 clips.
_base_ = [
    '../../_base_/models/tdvit_t.py',
    '../../_base_/datasets/imagenet_vid_tdvit.py',
    '../../_base_/schedules/adamw_3x.py',
    '../../_base_/default_runtime.py',
]
