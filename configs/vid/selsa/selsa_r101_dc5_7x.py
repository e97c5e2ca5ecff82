# SELSA, R-101 DC5, 14 references over the whole video in testing.
# Expected AP50 on ImageNet VID val: 81.5.
#   Source: published by mmtracking for its weights (COCO protocol, best of several runs, +-1 AP
#   from run to run); the README of vfe.pytorch 1.x lists the same 81.5. Not trained here. Those
#   weights load as they are (same names and shapes).
# Schedule: 7 epochs, lr / 10 after epochs 2 and 5; SGD 0.01 at 8 GPUs x 1 clip (mmtracking's
# recipe).
# Published memory 5.2 GB per GPU, 7.2 frames/s in testing on a V100; hours not published.
_base_ = [
    '../../_base_/models/selsa_r50_dc5.py',
    '../../_base_/datasets/imagenet_vid_multi_frame.py',
    '../../_base_/schedules/sgd_7x.py',
    '../../_base_/default_runtime.py',
]
model = dict(
    detector=dict(
        backbone=dict(
            depth=101, init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet101')
        )
    )
)

refs = dict(num_ref_imgs=14, frame_range=[-7, 7], method='test_with_adaptive_stride')
val_dataloader = dict(dataset=dict(ref_img_sampler=dict(_delete_=True, **refs)))
test_dataloader = val_dataloader
