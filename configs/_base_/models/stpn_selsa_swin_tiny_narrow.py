# SELSA on STPN on the narrow Swin of the sample videos; the aggregator is that of
# selsa_r18_narrow.py.
_base_ = 'stpn_swin_tiny_narrow.py'

model = dict(
    type='STPNSelsa',
    detector=dict(
        roi_head=dict(
            type='SelsaRoIHead',
            bbox_head=dict(
                type='SelsaBBoxHead',
                aggregator=dict(type='SelsaAggregator', in_channels=256, num_attention_blocks=4),
            ),
        ),
    ),
)
