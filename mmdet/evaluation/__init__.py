from mmdet.core.errors import EvaluationError
from mmdet.evaluation.evaluate import evaluate_results
from mmdet.evaluation.metric import VideoDetectionMetric

__all__ = ['EvaluationError', 'VideoDetectionMetric', 'evaluate_results']
