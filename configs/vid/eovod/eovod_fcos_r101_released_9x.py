# EOVOD on FCOS R-101 as it was released (FCOSAtt): every cell looks at a bank. The released
# checkpoint, 691 names, loads as it is.
# Expected on ImageNet VID val: COCO AP 54.0, AP50 79.7, AP75 59.3 (published with the checkpoint;
# 377 of its 555 videos began with the memory of another one, here every video begins with its own;
# `--cfg-options model.legacy_reset=True` does as they did, in one process).
# Expected AP50 of the VID protocol: not published. Not trained here.
# Schedule: 9 epochs, lr / 10 after epoch 6; SGD 0.001 at 8 GPUs x 1 clip.
_base_ = [
    '../../_base_/models/eovod_fcos_r50_released.py',
    '../../_base_/datasets/imagenet_vid_clips.py',
    '../../_base_/schedules/sgd_9x.py',
    '../../_base_/default_runtime.py',
]
model = dict(
    detector=dict(
        backbone=dict(
            depth=101,
            init_cfg=dict(
                checkpoint='https://download.openmmlab.com/pretrain/third_party/'
                'resnet101_caffe-3ad79236.pth'
            ),
        )
    ),
    aggregator=dict(levels=(2, 3)),
)
