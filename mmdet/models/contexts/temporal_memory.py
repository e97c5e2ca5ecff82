"""What the temporal blocks of a TDViT know of one video, and which reference they make of it.

Each block has a memory of the last D maps that it met (D: its dilation). A reference is taken from
it at frames 1, 1 + D, 1 + 2D, ... and used until the next; with `hold` 1 at every frame. Frame 0
has nothing to look at. So the earliest map is D to 2D - 1 frames old: with D = 4 frame by frame
none, 0, 0, 0, 0, 1, 1, 1, 1, 5, 5, 5, 5, 9, ... - of which only one map has to wait at any time,
the one of the frame in which the last reference was taken.

V: videos of a batch, H, W: the block's token map, C: its channels, M*T: tokens of its windows.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mmdet.models.backbones.tdvit import TDViTTransformer
from mmdet.models.contexts.memory_sampling import SAMPLERS


@dataclass
class BlockMemory:
    """Of one temporal block: maps [H*W, C], oldest first, and the reference now in use."""

    maps: deque[Tensor] = field(repr=False)
    reference: Tensor | None = field(default=None, repr=False)  # [M*T, 2C] keys and values


@dataclass
class TemporalState:
    """Of one video. `frames`: how many were written; `made_with`: their size and the weights."""

    blocks: list[BlockMemory]
    generator: torch.Generator = field(repr=False)  # of the strategies that draw
    frames: int = 0
    made_with: tuple | None = None


class TemporalMemory:
    """Reads and writes the states of videos for one backbone; keeps nothing itself.

    For a batch of frames, one of each video: `admit` all states, take the `references` of those
    that are not new, run `backbone.remember`, then `write` the maps.
    """

    def __init__(self, backbone: TDViTTransformer) -> None:
        self.backbone = backbone
        self.places = backbone.temporal_blocks

    @property
    def roles(self) -> tuple[str, ...]:
        """Frames of a training clip that are references, in the order of the stages."""
        return tuple(f'stage{i + 1}' for i in range(len(self.backbone.stages)))

    def init_state(self, generator: torch.Generator) -> TemporalState:
        return TemporalState(self._empty(), generator)

    def admit(self, state: TemporalState, size: tuple[int, int]) -> bool:
        """Forget everything if frames have another padded (height, width) or weights changed.

        Returns: whether the next frame has anything to look at.
        """
        made_with = (size, self._weights())
        if state.made_with != made_with:
            state.blocks, state.frames, state.made_with = self._empty(), 0, made_with
        return state.frames > 0

    def references(self, states: Sequence[TemporalState]) -> list[Tensor]:
        """Keys and values for the next frame of every video, per temporal block [V, M*T, 2C].

        Those in use are returned as they are; where one is due, it is taken from the memory.

        Args:
            states: admitted, of videos that are not new and of one frame size.
        """
        height, width = states[0].made_with[0]
        sizes = self.backbone.map_sizes(height, width)
        out = []
        for b, place in enumerate(self.places):
            due = [v for v, state in enumerate(states) if self._is_due(place.dilation, state)]
            if due:
                hw = sizes[place.stage]
                sample = SAMPLERS[self.backbone.memory]
                maps = [sample(states[v].blocks[b].maps, hw, states[v].generator) for v in due]
                made = self.backbone.block_at(place).keys_values(_batched(maps), hw)
                for v, reference in zip(due, made, strict=True):
                    # a row of a batch would keep all of it in memory
                    own = reference if len(due) == 1 else reference.clone()
                    states[v].blocks[b].reference = own
            out.append(_batched([state.blocks[b].reference for state in states]))
        return out

    def write(self, states: Sequence[TemporalState], kept: Sequence[Tensor]) -> None:
        """Remember the maps [V, H*W, C] of a frame of every video, one per temporal block."""
        for b, (place, maps) in enumerate(zip(self.places, kept, strict=True)):
            for state, one in zip(states, maps, strict=True):
                waits = state.frames == 0 or self._is_due(place.dilation, state)
                if waits or self._keeps_all():
                    state.blocks[b].maps.append(one.clone())
        for state in states:
            state.frames += 1

    def _empty(self) -> list[BlockMemory]:
        lengths = (place.dilation if self._keeps_all() else 1 for place in self.places)
        return [BlockMemory(deque(maxlen=length)) for length in lengths]

    def _keeps_all(self) -> bool:
        """Whether a block needs each of the last D maps, not only the one that waits."""
        return self.backbone.memory != 'earliest' or self.backbone.hold == 1

    def _is_due(self, dilation: int, state: TemporalState) -> bool:
        """Whether a reference is taken at the next frame."""
        hold = 1 if self.backbone.hold == 1 else dilation
        return state.frames > 0 and (state.frames - 1) % hold == 0

    def _weights(self) -> tuple:
        """Changes with the weights that made the maps, as far as the projections tell."""
        weights = [self.backbone.block_at(place).attn.w_msa.qkv.weight for place in self.places]
        return tuple((w.data_ptr(), 0 if w.is_inference() else w._version) for w in weights)


def _batched(tensors: list[Tensor]) -> Tensor:
    """[n, ...]; a single one is not copied."""
    return tensors[0][None] if len(tensors) == 1 else torch.stack(tensors)
