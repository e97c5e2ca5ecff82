from mmdet.models.aggregators.base import Aggregator
from mmdet.models.aggregators.mega_aggregator import MegaAggregator, RDNAggregator
from mmdet.models.aggregators.relation import Relation
from mmdet.models.aggregators.selsa_aggregator import MambaAggregator, SelsaAggregator

__all__ = [
    'Aggregator',
    'MambaAggregator',
    'MegaAggregator',
    'RDNAggregator',
    'Relation',
    'SelsaAggregator',
]
