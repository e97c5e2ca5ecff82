from mmdet.models.base import BaseVideoDetector, VideoState
from mmdet.models.vid.mamba import MAMBA
from mmdet.models.vid.pixel_memory import PixelMemory
from mmdet.models.vid.prompt_predictors import (
    AttentionPromptPredictor,
    AveragePromptPredictor,
    MixerPromptPredictor,
)
from mmdet.models.vid.selsa import SELSA
from mmdet.models.vid.stpn import STPN
from mmdet.models.vid.stpn_selsa import STPNSelsa

__all__ = [
    'MAMBA',
    'SELSA',
    'STPN',
    'AttentionPromptPredictor',
    'AveragePromptPredictor',
    'BaseVideoDetector',
    'MixerPromptPredictor',
    'PixelMemory',
    'STPNSelsa',
    'VideoState',
]
