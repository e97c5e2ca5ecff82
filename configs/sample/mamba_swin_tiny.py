# MAMBA (instance level) on a Swin: a composition, no class of its own. On the trained
# faster_rcnn_swin_tiny of the sample videos; train that first. Not measured yet.
_base_ = [
    '../_base_/models/faster_rcnn_swin_tiny_narrow.py',
    '../_base_/datasets/sample_vid_multi_frame.py',
    '../_base_/schedules/sample_2x_swin.py',
    '../_base_/default_runtime.py',
]
_base_.model.roi_head.type = 'MambaRoIHead'
_base_.model.roi_head.bbox_head.update(
    type='MambaBBoxHead',
    topk=20,
    aggregator=dict(type='MambaAggregator', in_channels=256, num_attention_blocks=4),
)
model = dict(
    _delete_=True,
    type='MAMBA',
    data_preprocessor=_base_.model.pop('data_preprocessor'),
    detector=_base_.model,
)
load_from = 'work_dirs/faster_rcnn_swin_tiny/epoch_5.pth'
