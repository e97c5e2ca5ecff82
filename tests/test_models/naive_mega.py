"""MEGA and RDN as the original runs them: deques, duplicates, a pass per role and frame.

`regions(frame id, number)` computes boxes [n, 4] and first-layer rows [n, C] (after the ReLU) of a
frame anew each time. `local`, `glob` are the relation modules, `fcs` the layers after the first.
"""

from collections import deque
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Regions = Callable[[int, int], tuple[Tensor, Tensor]]


def attend(module: nn.Module, query, keys, query_boxes=None, key_boxes=None) -> Tensor:
    boxes = (None, None) if query_boxes is None else (query_boxes[None], key_boxes[None])
    return query + module(query[None], keys[None], *boxes)[0]


def mega(
    regions: Regions,
    local: nn.ModuleList,
    glob: nn.ModuleList,
    fcs: nn.ModuleList,
    order: np.ndarray,
    first_key: int = 0,
    reach: int = 12,
    memory_frames: int = 25,
    num_global: int = 10,
    proposals: int = 300,
    base: int = 75,
    distilled: int = 15,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Boxes and rows before the classifier of every frame of a video, in order.

    Args:
        order: the shuffled frames from which the global ones are taken.
        first_key: the frame that stands for frame 0 at the first step (the original's slip).
    """
    length = len(order)
    window: deque = deque(maxlen=2 * reach + 1)
    globals_: deque = deque(maxlen=num_global)
    memory = [deque(maxlen=memory_frames) for _ in local]
    for t in range(length):
        if t == 0:
            window.extend([(first_key, *regions(first_key, base))] * (reach + 1))
            for i in range(1, reach + 1):
                frame = min(i, length - 1)
                window.append((frame, *regions(frame, base)))
            for i in reversed(range(num_global)):
                globals_.append(regions(order[i % length], base)[1])
        else:
            frame = min(t + reach, length - 1)
            window.append((frame, *regions(frame, base)))
            globals_.append(regions(order[(t + num_global - 1) % length], base)[1])
        boxes, key = regions(window[reach][0], proposals)
        keys = torch.cat(list(globals_))
        key = attend(glob[0], key, keys)
        ref_boxes = torch.cat([b for _, b, _ in window])
        refs = attend(glob[0], torch.cat([rows for _, _, rows in window]), keys)
        few = torch.cat([torch.arange(distilled) + base * i for i in range(len(window))])
        own_boxes, own = ref_boxes[few], refs[few]
        writes = []
        for i, module in enumerate(local):
            writes.append((ref_boxes[:base], refs[:base]) if i == 0 else
                          (ref_boxes[:distilled], refs[:distilled]))  # fmt: skip
            all_boxes = torch.cat([ref_boxes, *(b for b, _ in memory[i])])
            all_refs = torch.cat([refs, *(rows for _, rows in memory[i])])
            if i == len(local) - 1:
                key = attend(module, key, all_refs, boxes, all_boxes)
                break
            query, query_boxes = torch.cat([key, own]), torch.cat([boxes, own_boxes])
            query = attend(module, query, all_refs, query_boxes, all_boxes)
            query = F.relu(fcs[i](query))
            key, own = query[: len(key)], query[len(key) :]
            refs, ref_boxes = own, own_boxes
        for bank, write in zip(memory, writes, strict=True):
            bank.append(write)
        for module in glob[1:]:
            key = attend(module, key, keys)
        yield boxes, key


def rdn(
    regions: Regions,
    local: nn.ModuleList,
    fcs: nn.ModuleList,
    length: int,
    reach: int = 18,
    base_stages: int = 2,
    proposals: int = 300,
    base: int = 75,
    distilled: int = 15,
) -> Iterator[tuple[Tensor, Tensor]]:
    """As `mega`. Relations beyond the base stages belong to the advanced ones."""
    window: deque = deque(maxlen=2 * reach + 1)
    for t in range(length):
        if t == 0:
            window.extend([(0, *regions(0, base))] * (reach + 1))
            for i in range(1, reach + 1):
                window.append((min(i, length - 1), *regions(min(i, length - 1), base)))
        else:
            window.append((min(t + reach, length - 1), *regions(min(t + reach, length - 1), base)))
        boxes, key = regions(window[reach][0], proposals)
        ref_boxes = torch.cat([b for _, b, _ in window])
        refs = torch.cat([rows for _, _, rows in window])
        for i in range(base_stages):
            if i > 0:
                key = F.relu(fcs[i - 1](key))
            key = attend(local[i], key, refs, boxes, ref_boxes)
        if len(local) > base_stages:
            few = torch.cat([torch.arange(distilled) + base * i for i in range(len(window))])
            own, own_boxes = refs[few], ref_boxes[few]
            for i in range(base_stages, len(local) - 1):
                own = F.relu(fcs[i - 1](attend(local[i], own, refs, own_boxes, ref_boxes)))
            key = attend(local[-1], key, own, boxes, own_boxes)
        yield boxes, key
