# STPN on Faster R-CNN Swin-T FPN: five prompts per video, attention predictor, as released.
# Its detector differs from the single-frame Swin baseline in more than the prompts: 300 training
# proposals, 256 regions, low-quality matches, box stds of .2.
_base_ = 'faster_rcnn_swint_fpn.py'

_base_.model.backbone.type = 'STPNSwinTransformer'
_base_.model.backbone.num_tokens = 5
_base_.model.roi_head.bbox_head.bbox_coder.target_stds = (0.2, 0.2, 0.2, 0.2)
_base_.model.train_cfg.rpn_proposal.max_per_img = 300
_base_.model.train_cfg.rcnn.assigner.match_low_quality = True
_base_.model.train_cfg.rcnn.sampler.num = 256
model = dict(
    _delete_=True,
    type='STPN',
    data_preprocessor=_base_.model.pop('data_preprocessor'),
    detector=_base_.model,
    prompt_predictor=dict(
        type='AttentionPromptPredictor', embed_dims=768, num_prompts=5, prompt_dims=96
    ),
)
