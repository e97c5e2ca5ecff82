"""What EOVOD remembers of other frames: cells of objects, as keys and values of its attention.

Two kinds: the cells of a video's references, or of its own past where it has none, which stay as
they are; and a bank that every frame writes what it enhanced to, as the released model does.

Shapes: R frames, n cells of a frame, C channels, M keys, K channels of a key.
"""

from collections import deque
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdet.models.aggregators.base import Aggregator
from mmdet.models.contexts.memory_bank import MemoryBank

PAST_FRAMES, PAST_STRIDE = 14, 10  # own frames in place of references: reach back 140 frames

Keys = tuple[Tensor, Tensor]  # [M, K] and which of them exist [M]


@dataclass
class KeptState:
    """`generator` draws cells where there are too many. `refs`: the keys of references, fixed.
    `past`: those of the video's own frames, one entry each, where it began without references."""

    generator: torch.Generator = field(repr=False)
    refs: Keys | None = field(default=None, repr=False)
    past: deque[Keys] = field(default_factory=lambda: deque(maxlen=PAST_FRAMES), repr=False)
    frames: int = 0


class KeptKeys:
    """Cells of the references, chosen once per video.

    A video that began without references keeps cells of every PAST_STRIDE-th of its own frames, the
    newest PAST_FRAMES of them.

    Args:
        num_keys: of a level; more cells than this are drawn from. None keeps all of them: the
            attention to all cells of 14 frames takes 14 times the memory of one to 4096.
    """

    writes_enhanced = False

    def __init__(self, num_keys: int | None = 4096) -> None:
        self.num_keys = num_keys

    def init_state(self, generator: torch.Generator) -> KeptState:
        return KeptState(generator)

    def begin(self, state: KeptState, aggregator: Aggregator, cells: Tensor, mask: Tensor) -> None:
        """Take the cells [R, n, C] of the references that lie in objects, mask [R, n]."""
        state.refs = keys_in(
            aggregator, cells.flatten(0, 1), mask.flatten(), self.num_keys, state.generator
        )

    def read(self, state: KeptState) -> Keys | None:
        if state.refs is not None or not state.past:
            return state.refs
        keys, valid = zip(*state.past, strict=True)
        keys, valid = torch.cat(keys), torch.cat(valid)
        if keys.is_cuda:  # where shapes must stay for a graph to be replayed
            room = len(state.past[0][1]) * PAST_FRAMES - len(valid)
            keys, valid = F.pad(keys, (0, 0, 0, room)), F.pad(valid, (0, room))
        return keys, valid

    def is_due(self, state: KeptState) -> bool:
        """Whether the frame that was just computed is to be written; asked once per frame."""
        state.frames += 1
        return state.refs is None and (state.frames - 1) % PAST_STRIDE == 0

    def write(self, state: KeptState, aggregator: Aggregator, cells: Tensor, mask: Tensor) -> None:
        """Keep cells of a frame [n, C], of those of `mask` [n], which lie in objects."""
        most = None if self.num_keys is None else max(1, self.num_keys // PAST_FRAMES)
        state.past.append(keys_in(aggregator, cells, mask, most, state.generator))


class BankedKeys:
    """A bounded bank of enhanced cells, read and replaced at random (the released model).

    Args:
        max_length, key_length: rows of the bank and of a read, as of `MemoryBank`.
        cells_per_frame: at most so many cells are written, drawn at random.
    """

    writes_enhanced = True
    num_keys = None  # of a reference's objects in training, where these are keys: all cells

    def __init__(
        self, max_length: int = 20_000, key_length: int = 2000, cells_per_frame: int = 1000
    ) -> None:
        self.max_length, self.key_length = max_length, key_length
        self.cells_per_frame = cells_per_frame

    def init_state(self, generator: torch.Generator) -> MemoryBank:
        return MemoryBank(generator, max_length=self.max_length, key_length=self.key_length)

    def begin(self, state: MemoryBank, aggregator: Aggregator, cells: Tensor, mask: Tensor) -> None:
        for frame, inside in zip(cells, mask, strict=True):
            self.write(state, aggregator, frame, inside)

    def read(self, state: MemoryBank) -> Keys | None:
        if state.is_empty:
            return None
        keys, valid = state.read()
        return keys[0], valid

    def is_due(self, state: MemoryBank) -> bool:
        return True

    def write(self, state: MemoryBank, aggregator: Aggregator, cells: Tensor, mask: Tensor) -> None:
        keys, valid = keys_in(aggregator, cells, mask, self.cells_per_frame, state.generator)
        state.write(keys[None], valid)


def keys_in(
    aggregator: Aggregator,
    cells: Tensor,
    mask: Tensor,
    most: int | None,
    generator: torch.Generator,
) -> Keys:
    """Keys of the cells [N, C] in `mask` [N], of at most `most` of them, drawn at random.

    On a GPU there are always that many (or N), so that nobody waits; on a CPU as many as exist (at
    least one, which then does not).
    """
    count = len(cells) if most is None else min(most, len(cells))
    draw = torch.rand(len(cells), generator=generator)
    if cells.is_cuda:
        draw = draw.pin_memory().to(cells.device, non_blocking=True)
    else:
        count = min(count, max(1, int(mask.sum())))
    draw, chosen = draw.masked_fill(~mask, -1).topk(count)
    return aggregator.project(cells[chosen]), draw >= 0
