"""A bounded set of feature rows that outlives the frames they came from."""

import torch
from torch import Tensor

from mmdet.core.errors import ConfigError

FIRST_CAPACITY = 4096


class MemoryBank:
    """At most `max_length` rows, read as a random subset, replaced at random (MAMBA, section 3.2).

    Rows keep the dtype of the first ones written. The order of rows has no meaning.

    Args:
        generator: the video's own; nothing else decides what is read or dropped.
        max_length: rows it never exceeds.
        key_length: rows of one read; all of them while there are fewer.
        sampling, updating: only 'random' exists.
    """

    def __init__(
        self,
        generator: torch.Generator,
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
        self.max_length = max_length
        self.key_length = key_length
        self._buffer: Tensor | None = None
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def rows(self) -> Tensor:
        """All rows [len, C], a view."""
        if self._buffer is None:
            raise RuntimeError('The memory is empty: write before reading.')
        return self._buffer[: self._length]

    def sample(self) -> Tensor:
        """Rows [key_length, C] drawn without replacement, or all if there are fewer."""
        if self._length <= self.key_length:
            return self.rows
        return self.rows[self._draw(self._length, self.key_length)]

    def update(self, new: Tensor) -> None:
        """Write rows [n, C]; when they do not fit, they take the place of random old ones."""
        if len(new) > self.max_length:
            new = new[self._draw(len(new), self.max_length).to(new.device)]
        free = min(len(new), self.max_length - self._length)
        self._reserve(self._length + free, new)
        replaced = self._draw(self._length, len(new) - free)
        self._buffer[replaced] = new[free:].to(self._buffer.dtype)
        self._buffer[self._length : self._length + free] = new[:free]
        self._length += free

    def _draw(self, total: int, count: int) -> Tensor:
        order = torch.randperm(total, generator=self.generator)[:count]
        return order if self._buffer is None else order.to(self._buffer.device)

    def _reserve(self, length: int, like: Tensor) -> None:
        """Room for `length` rows; doubles, so that appending stays cheap."""
        capacity = 0 if self._buffer is None else len(self._buffer)
        if length <= capacity and self._buffer is not None:
            return
        capacity = min(self.max_length, max(length, 2 * capacity, FIRST_CAPACITY))
        grown = like.new_empty(capacity, like.shape[1])
        if self._buffer is not None:
            grown = grown.to(self._buffer.dtype)
            grown[: self._length] = self.rows
        self._buffer = grown
