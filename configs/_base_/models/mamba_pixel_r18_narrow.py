# MAMBA, pixel level alone, on the narrow ResNet-18 detector of the sample videos.
_base_ = 'mamba_full_r18_narrow.py'
_base_.model.detector.roi_head.type = 'StandardRoIHead'
_base_.model.detector.roi_head.bbox_head.type = 'Shared2FCBBoxHead'
_base_.model.detector.roi_head.bbox_head.pop('topk')
_base_.model.detector.roi_head.bbox_head.pop('aggregator')
model = dict(_delete_=True, **_base_.model)
