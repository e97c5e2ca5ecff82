"""What a stage of the detector takes from other frames.

A context has no weights: those lie in the modules that 1.x has them in. It has roles (the frames of
a clip that it takes), a state of its own per video, and a training form.
"""

from mmdet.models.contexts.base import FrameRegions, RegionContext
from mmdet.models.contexts.memory_bank import MemoryBank
from mmdet.models.contexts.pixel_memory import PixelMemory
from mmdet.models.contexts.prompts import Prompts
from mmdet.models.contexts.region_memory import RegionMemory
from mmdet.models.contexts.region_references import RegionReferences
from mmdet.models.contexts.temporal_memory import TemporalMemory
from mmdet.models.contexts.window_relations import WindowRelations

__all__ = [
    'FrameRegions',
    'MemoryBank',
    'PixelMemory',
    'Prompts',
    'RegionContext',
    'RegionMemory',
    'RegionReferences',
    'TemporalMemory',
    'WindowRelations',
]
