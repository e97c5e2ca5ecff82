# MAMBA, instance level, on a Swin-T with FPN: a composition, no class of its own.
# Expected AP50: nobody has published any. Not trained here on ImageNet VID.
# Schedule: 3 epochs of AdamW as the Swin single-frame detector, lr / 10 after epoch 2.
_base_ = [
    '../../_base_/models/faster_rcnn_swint_fpn.py',
    '../../_base_/datasets/imagenet_vid_mamba.py',
    '../../_base_/schedules/adamw_3x.py',
    '../../_base_/default_runtime.py',
]
_base_.model.roi_head.type = 'MambaRoIHead'
_base_.model.roi_head.bbox_head.update(
    type='MambaBBoxHead',
    topk=75,
    aggregator=dict(type='MambaAggregator', in_channels=1024, num_attention_blocks=16),
)
model = dict(
    _delete_=True,
    type='MAMBA',
    data_preprocessor=_base_.model.pop('data_preprocessor'),
    detector=_base_.model,
)
