from mmdet.models.vid.eovod import EOVOD
from mmdet.models.vid.mamba import MAMBA
from mmdet.models.vid.prompt_predictors import (
    AttentionPromptPredictor,
    AveragePromptPredictor,
    MixerPromptPredictor,
)
from mmdet.models.vid.selsa import SELSA
from mmdet.models.vid.stpn import STPN, STPNSelsa
from mmdet.models.vid.tdvit import TDViT
from mmdet.models.vid.video_model import VideoModel
from mmdet.models.vid.window_model import MEGA, RDN

__all__ = [
    'EOVOD',
    'MAMBA',
    'MEGA',
    'RDN',
    'SELSA',
    'STPN',
    'AttentionPromptPredictor',
    'AveragePromptPredictor',
    'MixerPromptPredictor',
    'STPNSelsa',
    'TDViT',
    'VideoModel',
]
