"""Losses for the log: kept on the device, read and averaged over ranks when a line is written."""

from collections.abc import Mapping
from itertools import groupby

import torch
import torch.distributed as dist
from mmengine.dist import get_world_size
from mmengine.hooks import RuntimeInfoHook as MMEngineRuntimeInfoHook
from torch import Tensor

from mmdet.registry import HOOKS

Row = tuple[tuple[str, ...], Tensor]  # names of K values, and the values [K] on their device


class LossLog:
    """The values of the iterations since the last line."""

    def __init__(self) -> None:
        self._rows: list[Row] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, values: Mapping[str, Tensor | float]) -> None:
        """Keep the scalars of an iteration; nothing is read, so nothing waits for the device.

        All ranks must add the same names. Those without any tensor are of the CPU.
        """
        tensors = [v for v in values.values() if isinstance(v, Tensor)]
        device = tensors[0].device if tensors else torch.device('cpu')
        scalars = [torch.as_tensor(v, device=device).detach().float() for v in values.values()]
        if scalars:
            self._rows.append((tuple(values), torch.stack([s.reshape(()) for s in scalars])))

    def take(self, seconds: float = 0.0) -> tuple[list[dict[str, float]], float]:
        """The values of every iteration since the last call, and `seconds`: means over the ranks.

        One reduction and one transfer. Every rank must call it after the same iteration.
        """
        rows, self._rows = self._rows, []
        if not rows:
            return [], seconds
        tables = [
            (names, torch.stack([values for _, values in group]))
            for names, group in groupby(rows, key=lambda row: row[0])
        ]
        own = torch.full((1,), seconds, dtype=torch.float64, device=tables[0][1].device)
        flat = torch.cat([own, *(table.double().flatten() for _, table in tables)])
        if get_world_size() > 1:
            dist.all_reduce(flat)
            flat /= get_world_size()
        seconds, *numbers = flat.tolist()
        found, start = [], 0
        for names, table in tables:
            for _ in range(len(table)):
                end = start + len(names)
                found.append(dict(zip(names, numbers[start:end], strict=True)))
                start = end
        return found, seconds


@HOOKS.register_module()
class RuntimeInfoHook(MMEngineRuntimeInfoHook):
    """mmengine's without the losses, which it would read, and so wait for, in every iteration: the
    LoggerHook has them."""

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        pass
