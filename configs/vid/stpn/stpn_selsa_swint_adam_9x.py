# SELSA on STPN, Swin-T FPN, attention predictor: prompts from some references, region features
# from others. Version 1.x holds this variant ("extra frames").
# Expected AP50 on ImageNet VID val: not known, nobody published a result. Not trained here.
#   53,403,424 parameters: STPN's 45,006,624 and two aggregators.
# Schedule: 9 epochs, lr / 10 after epoch 6; AdamW 2.5e-5 at 8 GPUs x 1 clip of 5 frames, from the
# COCO weights of Swin-T as stpn_swint_adam_9x.py.
_base_ = [
    '../../_base_/models/stpn_selsa_swint.py',
    '../../_base_/datasets/imagenet_vid_stpn_selsa.py',
    '../../_base_/schedules/adamw_9x.py',
    '../../_base_/default_runtime.py',
]
