# EOVOD on FCOS R-101 with the location prior, as the paper describes it.
# Expected on ImageNet VID val: COCO AP 54.1, AP50 79.8, AP75 59.5 (paper, box_ratio 0.8); 51.7,
# 77.1, 56.5 in its authors' repetition of this design, which trained with degraded priors as this
# config does. Expected AP50 of the VID protocol: not published. Not trained here.
# Schedule: 9 epochs, lr / 10 after epoch 6; SGD 0.001 at 8 GPUs x 1 clip.
_base_ = [
    '../../_base_/models/eovod_fcos_r50.py',
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
)
