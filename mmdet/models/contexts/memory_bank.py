"""A bounded set of feature rows that outlives the frames they came from.

Shapes: B banks, L layers, n rows of one write, k rows of one read, K channels.
"""

from collections.abc import Sequence

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
    def is_read_whole(self) -> bool:
        """There are no more rows than are read."""
        return self._most <= self.key_length

    @property
    def rows_of_layer(self) -> Tensor:
        """The memory of the first layer [room + 1, K]."""
        return self._buffer[0]

    @property
    def rows(self) -> Tensor:
        """All rows [L, len, K]; waits for the device."""
        self._check_written()
        return self._buffer[:, : len(self)]

    def read(self) -> tuple[Tensor, Tensor]:
        """Rows [L, k, K] and which of them exist [k]; see `read_banks`."""
        rows, valid = read_banks([self])
        return rows[0], valid[0]

    def write(self, rows: Tensor, valid: Tensor) -> None:
        """Write the rows [L, n, K] that are `valid` [n]; see `write_banks`."""
        write_banks([self], rows[None], valid[None])

    def order_to_read(self) -> np.ndarray:
        """Places [L, n] of rows that there may be, in a random order that is long enough to find
        `key_length` rows in it; all places, where there are no more.

        Four times as many are drawn as are wanted: rows that do not exist are rare (a frame with
        hardly any proposal); where less than a quarter do, fewer are read.
        """
        if self.is_read_whole:
            return np.tile(np.arange(self._most), (self.layers, 1))
        return self._draw(self.key_length)

    def order_to_replace(self, count: int) -> np.ndarray:
        """Places [L, n] in the order in which `count` new rows take them; none while all fit."""
        if self._most + count <= self.max_length or not self._most:
            return np.empty((self.layers, 0), np.int64)
        return self._draw(min(count, self._most))

    def _draw(self, count: int) -> np.ndarray:
        drawn = min(self._most, max(4 * count, SPARE))
        draws = [self._rng.choice(self._most, drawn, replace=False) for _ in range(self.layers)]
        return np.stack(draws)

    def _some(self, rows: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """As many random rows of one write as the memory holds."""
        order = to_device(self._rng.random(rows.shape[1]), rows.device)
        order = order.masked_fill(~valid, 2.0)
        kept = order.topk(self.max_length, largest=False).indices
        return rows[:, kept], valid[kept]

    @property
    def room(self) -> int:
        """Rows of a layer before more memory is taken; the place of the dustbin."""
        return self._buffer.shape[1] - 1

    @property
    def flat(self) -> Tensor:
        """The rows of all layers, one layer after the other, each with its dustbin."""
        return self._buffer.flatten(0, 1)

    def _allocate(self, rows: Tensor) -> None:
        room = min(self.max_length, FIRST_ROOM)
        self._buffer = rows.new_zeros(self.layers, room + 1, rows.shape[2])
        self._length = torch.zeros((), dtype=torch.long, device=rows.device)

    def _reserve(self, rows: int) -> None:
        """Room for so many rows; doubles, so that appending stays cheap."""
        if rows > self.room:
            room = min(self.max_length, max(rows, 2 * self.room))
            grown = self._buffer.new_zeros(self.layers, room + 1, self._buffer.shape[2])
            grown[:, : self.room] = self._buffer[:, :-1]
            self._buffer = grown

    def _check_written(self) -> None:
        if self._buffer is None:
            raise RuntimeError('The memory is empty: write before reading.')


def read_banks(banks: Sequence[MemoryBank]) -> tuple[Tensor, Tensor]:
    """Rows [B, L, k, K] of each of B banks, drawn without replacement, and which of them exist [B,
    k]: all do, or they are all rows that there are. The banks have the same settings.

    k is `key_length`, on a CPU no more than there can be.
    """
    for bank in banks:
        bank._check_written()
    first = banks[0].rows_of_layer
    count = banks[0].key_length
    if not first.is_cuda:  # elsewhere shapes must stay for a graph to be replayed
        count = min(count, max(bank._most for bank in banks))
    if all(bank.is_read_whole for bank in banks):
        longest = max(bank._most for bank in banks)
        order = torch.arange(longest, device=first.device)
        order = order.expand(len(banks), banks[0].layers, -1)
    else:
        order = _uploaded(banks, [bank.order_to_read() for bank in banks])
    places, exist = _existing(banks, order, count)
    layers, width = banks[0].layers, first.shape[1]
    rows = first.new_empty(len(banks), layers * count, width)
    for bank, own, chosen in zip(banks, rows, _flat_places(banks, places), strict=True):
        torch.index_select(bank.flat, 0, chosen, out=own)
    return rows.unflatten(1, (layers, count)), exist.all(dim=1)


def write_banks(banks: Sequence[MemoryBank], rows: Tensor, valid: Tensor) -> None:
    """Write rows [B, L, n, K], those that are `valid` [B, n], to B banks of the same settings;
    those that do not fit take the place of random old ones, each old one at most once."""
    most = banks[0].max_length
    for bank, own in zip(banks, rows, strict=True):
        if bank.is_empty:
            bank._allocate(own)
    if rows.shape[2] > most:
        kept = [bank._some(*own) for bank, *own in zip(banks, rows, valid, strict=True)]
        rows, valid = (torch.stack(x) for x in zip(*kept, strict=True))
    new = rows.shape[2]
    for bank in banks:
        bank._reserve(min(most, bank._most + new))
    lengths = torch.stack([bank._length for bank in banks])[:, None, None]
    number = valid.cumsum(1)[:, None] - 1
    places = (lengths + number).expand(-1, banks[0].layers, -1)
    orders = [bank.order_to_replace(new) for bank in banks]
    if any(order.size for order in orders):
        old, _ = _existing(banks, _uploaded(banks, orders), new)
        beyond = number - (most - lengths)
        replaced = old.gather(2, beyond.clamp(0, new - 1).expand_as(places))
        places = torch.where(beyond >= 0, replaced, places)
    places = torch.where(valid[:, None], places, _rooms(banks, rows.device))
    for bank, own, chosen in zip(banks, rows, _flat_places(banks, places), strict=True):
        bank.flat.index_copy_(0, chosen, own.flatten(0, 1).to(bank.flat.dtype))
    lengths = (lengths[:, 0, 0] + valid.sum(1)).clamp(max=most)
    for bank, length in zip(banks, lengths, strict=True):
        bank._length = length
        bank._most = min(bank._most + new, most)


def _uploaded(banks: Sequence[MemoryBank], orders: Sequence[np.ndarray]) -> Tensor:
    """Orders [L, n] of each bank on the device, filled up with places at which nothing exists."""
    longest = max(order.shape[1] for order in orders)
    padded = np.full((len(banks), banks[0].layers, longest), banks[0].max_length)
    for own, order in zip(padded, orders, strict=True):
        own[:, : order.shape[1]] = order
    return to_device(padded, banks[0].rows_of_layer.device)


def _existing(banks: Sequence[MemoryBank], order: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The first `count` places of each order [B, L, n] at which a row exists, [B, L, count], and
    which of them are any."""
    exists = order < torch.stack([bank._length for bank in banks])[:, None, None]
    rank = exists.cumsum(2)
    slot = torch.where(exists & (rank <= count), rank - 1, count)
    places = order.new_zeros(*order.shape[:2], count + 1).scatter_(2, slot, order)
    return places[..., :count], torch.arange(count, device=order.device) < rank[..., -1:]


def _flat_places(banks: Sequence[MemoryBank], places: Tensor) -> Tensor:
    """Numbers of rows of `MemoryBank.flat` for places [B, L, n]: [B, L * n]."""
    layer = torch.arange(places.shape[1], device=places.device)[:, None]
    return (places + layer * (_rooms(banks, places.device) + 1)).flatten(1)


def _rooms(banks: Sequence[MemoryBank], device: torch.device) -> Tensor | int:
    """Of each bank, to be broadcast over [B, L, n]."""
    rooms = [bank.room for bank in banks]
    if len(set(rooms)) == 1:
        return rooms[0]
    return to_device(np.array(rooms), device)[:, None, None]
