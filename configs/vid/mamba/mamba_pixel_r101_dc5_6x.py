# MAMBA, pixel level alone, R-101 DC5: cells of the backbone map attend to remembered cells.
# Expected AP50: 81.8 in the paper (table 3, C4 detector); see mamba_full_r101_dc5_6x.py for the
# sources.
#   Not trained here on ImageNet VID.
_base_ = 'mamba_full_r101_dc5_6x.py'
_base_.model.detector.roi_head.type = 'StandardRoIHead'
_base_.model.detector.roi_head.bbox_head.type = 'Shared2FCBBoxHead'
_base_.model.detector.roi_head.bbox_head.pop('topk')
_base_.model.detector.roi_head.bbox_head.pop('aggregator')
model = dict(_delete_=True, **_base_.model)
