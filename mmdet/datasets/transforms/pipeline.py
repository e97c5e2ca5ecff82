"""Composing clip transforms.

A transform is a callable `(clip, rng) -> clip`. What it draws comes from `rng`, and is drawn once
per clip unless its documentation says otherwise, so that all frames of a clip stay comparable.
A transform may change the clip it is given. It returns None to reject the sample: in training the
dataset then takes another one.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mmdet.core.errors import ConfigError
from mmdet.registry import TRANSFORMS
from mmdet.structures import Clip

Transform = Callable[[Clip, np.random.Generator], Clip | None]


class Pipeline:
    """Transforms one after the other.

    Args:
        transforms: configs (`dict(type='Resize', ...)`) or callables.
    """

    def __init__(self, transforms: Sequence[Mapping | Transform]):
        self.transforms = [build_transform(transform) for transform in transforms]

    def __call__(self, clip: Clip, rng: np.random.Generator) -> Clip | None:
        for transform in self.transforms:
            clip = transform(clip, rng)
            if clip is None:
                return None
        return clip

    def __iter__(self):
        """Every transform, those inside of branches included."""
        for transform in self.transforms:
            yield transform
            for branch in getattr(transform, 'branches', ()):
                yield from branch


def build_transform(transform: Mapping | Transform) -> Transform:
    built = TRANSFORMS.build(transform) if isinstance(transform, Mapping) else transform
    if not callable(built):
        raise ConfigError(
            f'A pipeline entry must be a config with a `type` or a callable '
            f'(clip, rng) -> clip, not {transform!r}'
        )
    return built


@TRANSFORMS.register_module()
class RandomChoice:
    """One of several pipelines, drawn once per clip.

    Args:
        transforms: a list of pipelines, each a list of transforms.
        prob: their probabilities; None for equal ones.
    """

    def __init__(
        self,
        transforms: Sequence[Sequence[Mapping | Transform]],
        prob: Sequence[float] | None = None,
    ):
        self.branches = [Pipeline(branch) for branch in transforms]
        self.prob = [1 / len(self.branches)] * len(self.branches) if prob is None else list(prob)
        if len(self.prob) != len(self.branches) or abs(sum(self.prob) - 1) > 1e-6:
            raise ConfigError(
                f'RandomChoice of {len(self.branches)} pipelines needs as many probabilities, '
                f'with sum 1, not {self.prob}'
            )

    def __call__(self, clip: Clip, rng: np.random.Generator) -> Clip | None:
        return self.branches[rng.choice(len(self.branches), p=self.prob)](clip, rng)
