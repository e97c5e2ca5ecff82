"""Counting operators for which the host would wait for a GPU."""

from collections import Counter

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mmdet.models.task_modules.assigner import box_iou

WAITING = ('_local_scalar_dense', 'item', 'nonzero', 'masked_select', 'equal', 'unique_dim')
COPIES = ('lift_fresh',)  # a constant made by the host, which goes to the GPU in a copy


class CountHostWaits(TorchDispatchMode):
    """`waits` counts the operators, while it is active, on which the host or a shape depends."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if name in WAITING + COPIES:
            self.waits[name] += 1
        if name in ('index', 'index_put', 'index_put_', '_index_put_impl_'):
            masks = [i for i in args[1] if i is not None and i.dtype == torch.bool]
            self.waits[f'{name} by a mask'] += len(masks)
        return function(*args, **(kwargs or {}))

    @property
    def total(self) -> int:
        return sum(self.waits.values())


def static_nms(
    boxes: Tensor, valid: Tensor, iou_threshold: float, max_keep: int
) -> tuple[Tensor, Tensor]:
    """In place of `sorted_nms`, which on a CPU takes shapes that depend on what is found: drops
    boxes that overlap any better one, in fixed shapes. It is only as like as counting needs."""
    better = torch.ones(boxes.shape[1], boxes.shape[1], dtype=torch.bool).triu(1)
    worse = ((box_iou(boxes, boxes) > iou_threshold) & better & valid[:, :, None]).any(dim=1)
    kept = (valid & ~worse).float()
    score = kept - torch.arange(boxes.shape[1]) * 1e-6
    values, indices = score.topk(min(max_keep, boxes.shape[1]), dim=1)
    missing = max_keep - indices.shape[1]
    indices = torch.nn.functional.pad(indices, (0, missing))
    return indices, torch.nn.functional.pad(values > 0.5, (0, missing))
