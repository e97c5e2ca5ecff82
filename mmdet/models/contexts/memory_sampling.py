"""How a temporal block takes one reference map from the T maps that it remembers.

Every function takes maps [H*W, C] from oldest to newest, (H, W) and the video's generator, and
returns [H*W, C]. Only the shuffles draw.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise, product

import torch
from torch import Tensor


def earliest(maps: Sequence[Tensor], hw: tuple[int, int], generator: torch.Generator) -> Tensor:
    """The oldest."""
    return maps[0]


def largest_norm(maps: Sequence[Tensor], hw: tuple[int, int], generator: torch.Generator) -> Tensor:
    """The one with the largest L2 norm over all tokens and channels; of equal ones the oldest."""
    norms = torch.stack([one.float().norm() for one in maps])
    return torch.stack(list(maps)).index_select(0, norms.argmax()[None])[0]


def channel_shuffle(
    maps: Sequence[Tensor], hw: tuple[int, int], generator: torch.Generator
) -> Tensor:
    """Each channel from a random map, the same one for all tokens."""
    channels = maps[0].shape[-1]
    chosen = torch.randint(len(maps), (channels,), generator=generator).to(maps[0].device)
    return torch.stack(list(maps), dim=-1)[:, torch.arange(channels, device=chosen.device), chosen]


def patch_shuffle(
    maps: Sequence[Tensor], hw: tuple[int, int], generator: torch.Generator
) -> Tensor:
    """Each quadrant from a random map of one quarter of the memory.

    The memory is cut into four consecutive groups, larger ones first, for the quadrants top left,
    top right, bottom left and bottom right; a group without maps draws from all of them. Odd sides
    are cut before the middle row or column.
    """
    top, left = hw[0] // 2, hw[1] // 2
    areas = product((slice(top), slice(top, None)), (slice(left), slice(left, None)))
    out = torch.empty_like(maps[0])
    target = out.unflatten(0, hw)
    for area, group in zip(areas, _quarters(len(maps)), strict=True):
        pick = torch.randint(len(group), (1,), generator=generator).item()
        target[area] = maps[group[pick]].unflatten(0, hw)[area]
    return out


def _quarters(count: int) -> list[range]:
    """0..count-1 in four consecutive groups whose sizes differ by one at most."""
    starts = [group * (count // 4) + min(group, count % 4) for group in range(5)]
    groups = [range(a, b) for a, b in pairwise(starts)]
    return [group or range(count) for group in groups]


Sampler = Callable[[Sequence[Tensor], tuple[int, int], torch.Generator], Tensor]
SAMPLERS: dict[str, Sampler] = {
    'earliest': earliest,
    'nms': largest_norm,
    'channel_shuffle': channel_shuffle,
    'patch_shuffle': patch_shuffle,
}
