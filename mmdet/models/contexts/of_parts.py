"""The contexts that the parts of a detector need."""

from torch import nn

from mmdet.models.backbones import TDViTTransformer
from mmdet.models.contexts.base import RegionContext
from mmdet.models.contexts.region_memory import RegionMemory
from mmdet.models.contexts.region_references import RegionReferences
from mmdet.models.contexts.temporal_memory import TemporalMemory
from mmdet.models.roi_heads.selsa_roi_head import MambaBBoxHead, SelsaBBoxHead


def region_context(bbox_head: nn.Module) -> RegionContext | None:
    """MAMBA's memory, SELSA's references, or None for a head that sees its own frame only."""
    if isinstance(bbox_head, MambaBBoxHead):
        return RegionMemory(bbox_head)
    if isinstance(bbox_head, SelsaBBoxHead):
        return RegionReferences(bbox_head)
    return None


def temporal_context(backbone: nn.Module) -> TemporalMemory | None:
    """The memory of a TDViT, unless it is off; None for a backbone that sees single frames."""
    if isinstance(backbone, TDViTTransformer) and backbone.memory != 'off':
        return TemporalMemory(backbone)
    return None
