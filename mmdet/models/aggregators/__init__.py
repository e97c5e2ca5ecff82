from mmdet.models.aggregators.selsa_aggregator import MambaAggregator, SelsaAggregator

__all__ = ['MambaAggregator', 'SelsaAggregator']
