# STPN, Swin-T FPN, average predictor: the strongest tokens of the references, averaged.
# Expected AP50: not published. Not trained here. Schedule as stpn_swint_adam_9x.py.
_base_ = 'stpn_swint_adam_9x.py'

model = dict(
    prompt_predictor=dict(
        _delete_=True,
        type='AveragePromptPredictor',
        embed_dims=768,
        num_prompts=5,
        prompt_dims=96,
    )
)
