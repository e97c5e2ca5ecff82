# STPN on the narrow Swin of the sample videos: the same detector, with five prompts.
_base_ = 'faster_rcnn_swin_tiny_narrow.py'

_base_.model.backbone.type = 'STPNSwinTransformer'
_base_.model.backbone.num_tokens = 5
model = dict(
    _delete_=True,
    type='STPN',
    data_preprocessor=_base_.model.pop('data_preprocessor'),
    detector=_base_.model,
    prompt_predictor=dict(
        type='AttentionPromptPredictor', embed_dims=64, num_prompts=5, prompt_dims=32, num_heads=4
    ),
)
