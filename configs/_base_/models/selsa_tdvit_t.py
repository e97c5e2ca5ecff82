# SELSA's region head on TDViT-T: the references of the regions pass the backbone without memory, 75
# proposals of each are used.
_base_ = 'tdvit_t.py'

model = dict(
    type='SELSA',
    detector=dict(
        roi_head=dict(
            type='SelsaRoIHead',
            bbox_head=dict(
                type='SelsaBBoxHead',
                topk=75,
                aggregator=dict(type='SelsaAggregator', in_channels=1024, num_attention_blocks=16),
            ),
        ),
    ),
)
