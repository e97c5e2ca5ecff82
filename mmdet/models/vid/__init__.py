from mmdet.models.base import BaseVideoDetector, VideoState
from mmdet.models.vid.mamba import MAMBA
from mmdet.models.vid.pixel_memory import PixelMemory
from mmdet.models.vid.prompt_predictors import (
    AttentionPromptPredictor,
    AveragePromptPredictor,
    MixerPromptPredictor,
)
from mmdet.models.vid.selsa import SELSA

__all__ = [
    'MAMBA',
    'SELSA',
    'AttentionPromptPredictor',
    'AveragePromptPredictor',
    'BaseVideoDetector',
    'MixerPromptPredictor',
    'PixelMemory',
    'VideoState',
]
