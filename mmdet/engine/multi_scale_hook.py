"""Training at several sizes (YOLOX, arXiv 2107.08430)."""

import numpy as np
from mmengine.dist import broadcast_object_list
from mmengine.hooks import Hook

from mmdet.core.errors import ConfigError
from mmdet.registry import HOOKS


@HOOKS.register_module()
class MultiScaleHook(Hook):
    """Every `interval` iterations, images are resized to a square of another random side.

    The first iterations have the size of the pipeline. A side follows from the seed and the number
    of the iteration alone: all ranks have the same, and a resumed run goes on with it.

    Args:
        sides: least and most, in pixels.
        step: a side is a multiple of it.
        interval: iterations of one side.
    """

    def __init__(
        self, sides: tuple[int, int] = (480, 800), step: int = 32, interval: int = 10
    ) -> None:
        low, high = sides
        if not 0 < low <= high or step < 1 or low % step or high % step or interval < 1:
            raise ConfigError(
                f'MultiScaleHook needs sides (low, high) with 0 < low <= high, both multiples of '
                f'step, and interval >= 1, not {sides!r}, step {step}, interval {interval}.'
            )
        self.low, self.high, self.step, self.interval = low, high, step, interval
        self.seed = 0

    def before_train(self, runner) -> None:
        if not getattr(_preprocessor(runner), 'pad_to_square', False):
            raise ConfigError(
                'MultiScaleHook resizes squares: set model.data_preprocessor.pad_to_square=True, '
                'or leave the hook out of custom_hooks.'
            )
        seeds = [runner.seed]
        broadcast_object_list(seeds)  # ranks may have seeds of their own
        self.seed = seeds[0]

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        _preprocessor(runner).train_side = self.side(self.seed, runner.iter)

    def side(self, seed: int, iteration: int) -> int | None:
        """In pixels; None: the images as they are."""
        period = iteration // self.interval
        if period == 0:
            return None
        rng = np.random.default_rng((seed, period))
        return self.step * int(rng.integers(self.low // self.step, self.high // self.step + 1))


def _preprocessor(runner):
    return getattr(runner.model, 'module', runner.model).data_preprocessor
