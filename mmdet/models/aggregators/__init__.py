from mmdet.models.aggregators.base import Aggregator
from mmdet.models.aggregators.selsa_aggregator import MambaAggregator, SelsaAggregator

__all__ = ['Aggregator', 'MambaAggregator', 'SelsaAggregator']
