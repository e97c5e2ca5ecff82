# SELSA's region head on STPN's prompted Swin-T FPN; the rest of the detector is STPN's.
_base_ = 'stpn_swint.py'

model = dict(
    type='STPNSelsa',
    detector=dict(
        # backbone=dict(prompt_order='window') mixes the prompts of a batch as version 1.x did
        roi_head=dict(
            type='SelsaRoIHead',
            bbox_head=dict(
                type='SelsaBBoxHead',
                aggregator=dict(type='SelsaAggregator', in_channels=1024, num_attention_blocks=16),
            ),
        ),
    ),
)
