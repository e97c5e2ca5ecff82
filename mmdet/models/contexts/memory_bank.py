"""A bounded set of feature rows that outlives the frames they came from.

Shapes: L layers, n rows of one write, k rows of one read, K channels.
"""

import numpy as np
import torch
from torch import Tensor

from mmdet.core.errors import ConfigError
from mmdet.models.batch import to_device

FIRST_ROOM = 4096
SPARE = 64  # places that are drawn beyond those wanted


class MemoryBank:
    """At most `max_length` rows per layer, read as a random subset, replaced at random (MAMBA,
    section 3.2).

    How many rows there are is known on the device only, so that writing as many as a frame happens
    to give makes nobody wait. The random numbers come from the video's own CPU generator, ahead of
    the device: a random order of all rows that there may be, from which the device takes the first
    ones that exist. Results are therefore the same on every device. Rows keep the dtype of the
    first ones written; their order has no meaning.

    Args:
        generator: nothing else decides what is read or dropped.
        layers: L; their rows are written together and drawn apart.
        max_length: rows that a layer never exceeds.
        key_length: rows of one read.
        sampling, updating: only 'random' exists.
    """

    def __init__(
        self,
        generator: torch.Generator,
        layers: int = 1,
        max_length: int = 20_000,
        key_length: int = 2_000,
        sampling: str = 'random',
        updating: str = 'random',
    ) -> None:
        for name, value in (('sampling', sampling), ('updating', updating)):
            if value != 'random':
                raise ConfigError(f"The memory's {name}={value!r} is unknown. Known: random.")
        if not 0 < key_length <= max_length:
            raise ConfigError(f'0 < key_length={key_length} <= max_length={max_length} must hold.')
        self.generator = generator
        seed = int(torch.randint(2**62, (), generator=generator))
        self._rng = np.random.default_rng(seed)
        self.layers = layers
        self.max_length = max_length
        self.key_length = key_length
        self._most = 0  # as many rows as there can be at most
        self._length: Tensor | None = None  # as many as there are, on the device
        self._buffer: Tensor | None = None  # [L, room + 1, K], the last row is a dustbin

    def __len__(self) -> int:
        """Rows of a layer; waits for the device."""
        return 0 if self._length is None else int(self._length)

    @property
    def is_empty(self) -> bool:
        """Nothing was written yet."""
        return self._buffer is None

    @property
    def rows(self) -> Tensor:
        """All rows [L, len, K]; waits for the device."""
        self._check_written()
        return self._buffer[:, : len(self)]

    def read(self) -> tuple[Tensor, Tensor]:
        """Rows [L, k, K] drawn without replacement and which of them exist [k]: all do, or they are
        all rows that there are. k is `key_length`, on a CPU no more than there can be."""
        self._check_written()
        on_gpu = self._buffer.is_cuda  # where shapes must stay for a graph to be replayed
        count = self.key_length if on_gpu else min(self.key_length, self._most)
        valid = torch.arange(count, device=self._buffer.device) < self._length
        if self._most <= self.key_length:
            self._reserve(count)
            return self._buffer[:, :count], valid
        chosen, exists = self._draw(count)
        valid, chosen = exists.all(dim=0), chosen * exists
        rows = self._flat.index_select(0, self._flat_places(chosen))
        return rows.unflatten(0, (self.layers, count)), valid

    def write(self, rows: Tensor, valid: Tensor) -> None:
        """Write the rows [L, n, K] that are `valid` [n]; those that do not fit take the place of
        random old ones, each old one at most once."""
        if self._buffer is None:
            self._allocate(rows)
        if rows.shape[1] > self.max_length:
            rows, valid = self._some(rows, valid)
        self._reserve(min(self.max_length, self._most + rows.shape[1]))
        number = valid.cumsum(0) - 1
        places = (self._length + number).expand(self.layers, -1)
        if self._most + len(number) > self.max_length and self._most:
            old, _ = self._draw(min(len(number), self._most))
            beyond = number - (self.max_length - self._length)
            replaced = old.gather(1, beyond.clamp(0, old.shape[1] - 1).expand(self.layers, -1))
            places = torch.where(beyond >= 0, replaced, places)
        places = torch.where(valid, places, self._room)
        new = rows.flatten(0, 1).to(self._buffer.dtype)
        self._flat.index_copy_(0, self._flat_places(places), new)
        self._length = (self._length + valid.sum()).clamp(max=self.max_length)
        self._most = min(self._most + len(number), self.max_length)

    def _draw(self, count: int) -> tuple[Tensor, Tensor]:
        """Places [L, count] of different rows, in random order, those that exist first, and which
        these are.

        Of a large memory four times as many are drawn as are wanted: rows that do not exist are
        rare (a frame with hardly any proposal); where less than a quarter do, fewer are read.
        """
        drawn = min(self._most, max(4 * count, SPARE))
        order = np.stack(
            [self._rng.choice(self._most, drawn, replace=False) for _ in range(self.layers)]
        )
        order = to_device(order, self._buffer.device)
        first = (order >= self._length).to(torch.uint8).sort(dim=1, stable=True).indices
        order = order.gather(1, first[:, :count])
        return order, order < self._length

    def _some(self, rows: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """As many random rows of one write as the memory holds."""
        order = to_device(self._rng.random(rows.shape[1]), rows.device)
        order = order.masked_fill(~valid, 2.0)
        kept = order.topk(self.max_length, largest=False).indices
        return rows[:, kept], valid[kept]

    @property
    def _room(self) -> int:
        return self._buffer.shape[1] - 1

    def _allocate(self, rows: Tensor) -> None:
        room = min(self.max_length, FIRST_ROOM)
        self._buffer = rows.new_zeros(self.layers, room + 1, rows.shape[2])
        self._length = torch.zeros((), dtype=torch.long, device=rows.device)

    def _reserve(self, rows: int) -> None:
        """Room for so many rows; doubles, so that appending stays cheap."""
        if rows > self._room:
            room = min(self.max_length, max(rows, 2 * self._room))
            grown = self._buffer.new_zeros(self.layers, room + 1, self._buffer.shape[2])
            grown[:, : self._room] = self._buffer[:, :-1]
            self._buffer = grown

    @property
    def _flat(self) -> Tensor:
        """The rows of all layers, one layer after the other."""
        return self._buffer.flatten(0, 1)

    def _flat_places(self, places: Tensor) -> Tensor:
        """Numbers of rows of `_flat` for places [L, n]."""
        layer = torch.arange(self.layers, device=places.device)[:, None]
        return (places + layer * self._buffer.shape[1]).flatten()

    def _check_written(self) -> None:
        if self._buffer is None:
            raise RuntimeError('The memory is empty: write before reading.')
