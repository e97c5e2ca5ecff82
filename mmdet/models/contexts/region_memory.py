"""MAMBA's instance level (arXiv 2401.09923, section 3): regions read and feed a memory.

Shapes: B frames, L layers of the region head, M references, K channels of a key.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from mmdet.models.contexts.base import FrameRegions, RegionContext
from mmdet.models.contexts.memory_bank import MemoryBank, read_banks, write_banks
from mmdet.models.contexts.region_references import keys_of
from mmdet.models.roi_heads.bbox_head import Keys
from mmdet.models.roi_heads.selsa_roi_head import MambaBBoxHead


@dataclass
class RegionMemoryState:
    """`bank`: enhanced regions of earlier frames, as keys. `first`: what the first frame sees, all
    references and itself: keys [M, K] per layer and which exist [M]; None after it."""

    bank: MemoryBank = field(repr=False)
    first: tuple[list[Tensor], Tensor] | None = field(default=None, repr=False)


class RegionMemory(RegionContext):
    """A memory per layer in place of fixed references.

    At the first frame of a video the best regions of the references and of the frame itself are
    read, all of them, and fill the memory. Every later frame reads a random key set and writes its
    best enhanced regions.
    """

    roles = ('ref',)
    sequential = True

    def __init__(self, head: MambaBBoxHead) -> None:
        self.head = head

    def init_state(self, generator: torch.Generator) -> RegionMemoryState:
        layers = len(self.head.aggregator)
        settings = self.head.aggregator[0].memory_cfg
        return RegionMemoryState(MemoryBank(generator, layers, **settings))

    def keys_of_refs(self, refs: FrameRegions, refs_per_clip: int) -> Keys:
        return keys_of(self.head, refs, refs_per_clip)

    def begin(self, state: RegionMemoryState, refs: FrameRegions | None, key: FrameRegions) -> None:
        frames = key if refs is None else FrameRegions.cat([refs, key])
        keys = keys_of(self.head, frames, len(frames))
        layers, valid = [layer[0] for layer in keys.layers], keys.valid[0]
        state.bank.write(torch.stack(layers), valid)
        state.first = (layers, valid)

    def read(self, state: RegionMemoryState) -> tuple[Tensor, ...]:
        if state.first is not None:
            layers, valid = state.first
        else:
            layers, valid = state.bank.read()
        return (*layers, valid)

    def read_all(self, states: list[RegionMemoryState]) -> tuple[Tensor, ...]:
        if any(state.first is not None for state in states):
            return super().read_all(states)
        rows, valid = read_banks([state.bank for state in states])
        return (*rows.unbind(1), valid)

    def keys(self, key: FrameRegions, read: tuple[Tensor, ...]) -> Keys:
        return Keys(list(read[:-1]), read[-1])

    def written(self, key: FrameRegions, layers: list[Tensor]) -> tuple[Tensor, ...]:
        best = self.head.topk
        keys = [
            aggregator.project(feats[:, :best])
            for aggregator, feats in zip(self.head.aggregator, layers, strict=True)
        ]
        return torch.stack(keys, dim=1), key.proposals.valid[:, :best]

    def write(self, states: list[RegionMemoryState], written: tuple[Tensor, ...]) -> None:
        later = [i for i, state in enumerate(states) if state.first is None]
        for state in states:
            state.first = None  # the frame is in the memory, as it was before it read
        if later:
            rows, valid = (x if len(later) == len(x) else x[later] for x in written)
            write_banks([states[i].bank for i in later], rows, valid)
