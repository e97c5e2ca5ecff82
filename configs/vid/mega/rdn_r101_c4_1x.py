# RDN, R-101 C4, basic stage: 37 frames around the key frame.
# Expected AP50 on ImageNet VID val: 81.1.
#   Source: mega.pytorch README (its evaluator; see README.md). Not trained here. Its weights load
#   after `tools/model_converters/convert_checkpoint.py --from mega IN.pth OUT.pth`.
# To test exactly as the original does: `--cfg-options model.legacy=True`.
# Schedule: 4 epochs, lr / 10 after epoch 3; SGD 0.002 at 8 GPUs x 1 clip.
_base_ = 'rdn_r50_c4_1x.py'
model = dict(
    detector=dict(
        backbone=dict(
            depth=101,
            init_cfg=dict(
                checkpoint='https://download.openmmlab.com/pretrain/third_party/'
                'resnet101_msra-6cc46731.pth'
            ),
        ),
        neck=None,
        roi_head=dict(
            bbox_roi_extractor=dict(out_channels=2048),
            bbox_head=dict(in_channels=2048),
        ),
    )
)
