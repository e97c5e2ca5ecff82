"""Which blocks of a TDViT are temporal, and how far each looks back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmdet.core.errors import ConfigError

EXTRA_STAGE = 2  # where the "+" variants have blocks that Swin lacks


@dataclass(frozen=True)
class TemporalBlock:
    """The place of a temporal block, and the number of frames that it looks back."""

    stage: int
    index: int
    dilation: int


def temporal_blocks(
    depths: Sequence[int], extra_blocks: int, scheme: str, dilations: Sequence[int]
) -> tuple[TemporalBlock, ...]:
    """The temporal blocks in the order in which a frame passes them.

    Args:
        depths: blocks of each stage, the extra ones among them, which are temporal.
        scheme: of the others, 'split': the last half of a stage (rounded down) is temporal;
            'factorised': every other block, beginning with the second.
    """
    _check_numbers(depths, extra_blocks, dilations)
    blocks = []
    for stage, (depth, dilation) in enumerate(zip(depths, dilations, strict=True)):
        own = depth - (extra_blocks if stage == EXTRA_STAGE else 0)
        for index in range(depth):
            temporal = index >= (own + 1) // 2 if scheme == 'split' else index % 2 == 1
            if temporal or index >= own:
                blocks.append(TemporalBlock(stage, index, dilation))
    return tuple(blocks)


def check_choice(name: str, value: Any, legal: tuple) -> None:
    if value not in legal:
        raise ConfigError(f'{name} {value!r}: expected {" or ".join(map(repr, legal))}.')


def _check_numbers(depths: Sequence[int], extra_blocks: int, dilations: Sequence[int]) -> None:
    if len(dilations) != len(depths):
        raise ConfigError(
            f'dilations {tuple(dilations)}: expected one for each of the {len(depths)} stages.'
        )
    for dilation in dilations:
        if not isinstance(dilation, int) or dilation < 1:
            raise ConfigError(f'dilations {tuple(dilations)}: expected whole frames, at least 1.')
    if extra_blocks and len(depths) <= EXTRA_STAGE:
        raise ConfigError(
            f'extra_blocks {extra_blocks} belong into stage {EXTRA_STAGE + 1}, depths '
            f'{tuple(depths)} has {len(depths)}.'
        )
    if extra_blocks and not 0 <= extra_blocks <= depths[EXTRA_STAGE] - 2:
        raise ConfigError(
            f'extra_blocks {extra_blocks}: expected 0 to {depths[EXTRA_STAGE] - 2}, as they start '
            f'as copies of the blocks before them and depths {tuple(depths)} counts them, too.'
        )
