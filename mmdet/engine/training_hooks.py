"""Hooks for training as YOLOX does (arXiv 2107.08430): the running average of the weights, random
sizes, and what changes for the last epochs."""

import math

import numpy as np
import torch
from mmengine.dist import broadcast_object_list
from mmengine.hooks import Hook
from torch import Tensor, nn

from mmdet.core.errors import CheckpointError, ConfigError
from mmdet.registry import HOOKS

ENTRY = 'ema'  # of a checkpoint: what resuming needs beside the averaged weights


@HOOKS.register_module()
class EMAHook(Hook):
    """Exponential moving average of all weights and buffers, as YOLOX trains.

    After step n the average moves towards the weights by
    `momentum + (1 - momentum) * exp(-n / warm_up)`, much at first. A checkpoint's `state_dict`
    holds the average; a resumed run goes on from both, bit by bit as if it had not stopped.
    """

    def __init__(self, momentum: float = 1e-4, warm_up: int = 2000) -> None:
        if not 0 < momentum < 1 or warm_up < 1:
            raise ConfigError(
                f'EMAHook needs 0 < momentum < 1 and warm_up >= 1, not {momentum}, {warm_up}.'
            )
        self.momentum, self.warm_up = momentum, warm_up
        self.steps = 0
        self._average: dict[str, Tensor] = {}

    def before_train(self, runner) -> None:
        """Start from the weights, unless a checkpoint brought an average."""
        own = _model(runner).state_dict()
        if self._average:
            self._average = {k: self._average[k].to(v.device) for k, v in own.items()}
        else:
            self._average = {k: v.detach().clone() for k, v in own.items()}

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self.steps += 1
        rate = self.momentum + (1 - self.momentum) * math.exp(-self.steps / self.warm_up)
        own = _model(runner).state_dict()
        moving = [k for k, v in own.items() if v.is_floating_point()]
        torch._foreach_lerp_([self._average[k] for k in moving], [own[k] for k in moving], rate)
        for name in own.keys() - set(moving):  # counters
            self._average[name].copy_(own[name])

    def before_val_epoch(self, runner) -> None:
        self._swap(runner)

    def after_val_epoch(self, runner, metrics: dict | None = None) -> None:
        self._swap(runner)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """The average takes the place of the weights, which are kept for resuming."""
        if 'optimizer' in checkpoint:
            checkpoint[ENTRY] = {'steps': self.steps, 'weights': checkpoint['state_dict']}
        checkpoint['state_dict'] = {k: v.clone() for k, v in self._average.items()}

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Give a resumed run its own weights back; others start from the average."""
        if not runner._resume:
            return
        if ENTRY not in checkpoint:
            raise CheckpointError(
                'The checkpoint was saved without EMAHook, so that it holds no average to go on '
                'from. Resume with the config that it was trained with, or start anew from its '
                'weights with --cfg-options load_from=FILE.'
            )
        self._average = {k: v.clone() for k, v in checkpoint['state_dict'].items()}
        self.steps = checkpoint[ENTRY]['steps']
        checkpoint['state_dict'] = checkpoint[ENTRY]['weights']

    @torch.no_grad()
    def _swap(self, runner) -> None:
        """Exchange the weights of the model and the average, in place."""
        for name, own in _model(runner).state_dict().items():
            kept = own.clone()
            own.copy_(self._average[name])
            self._average[name].copy_(kept)


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
        if not getattr(_model(runner).data_preprocessor, 'pad_to_square', False):
            raise ConfigError(
                'MultiScaleHook resizes squares: set model.data_preprocessor.pad_to_square=True, '
                'or leave the hook out of custom_hooks.'
            )
        seeds = [runner.seed]
        broadcast_object_list(seeds)  # ranks may have seeds of their own
        self.seed = seeds[0]

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        _model(runner).data_preprocessor.train_side = self.side(self.seed, runner.iter)

    def side(self, seed: int, iteration: int) -> int | None:
        """In pixels; None: the images as they are."""
        period = iteration // self.interval
        if period == 0:
            return None
        rng = np.random.default_rng((seed, period))
        return self.step * int(rng.integers(self.low // self.step, self.high // self.step + 1))


@HOOKS.register_module()
class LastEpochsHook(Hook):
    """The last epochs train on images as they are, and with the L1 loss of boxes.

    Transforms that mix samples (those with an attribute `enabled`) are turned off, and `use_l1` of
    the model's head is turned on. Both follow from the number of the epoch alone, so that a resumed
    run does the same.
    """

    def __init__(self, epochs: int) -> None:
        if epochs < 0:
            raise ConfigError(f'LastEpochsHook needs epochs of at least 0, not {epochs}.')
        self.epochs = epochs

    def before_train_epoch(self, runner) -> None:
        last = runner.epoch >= runner.max_epochs - self.epochs
        for module in _model(runner).modules():
            if hasattr(module, 'use_l1'):
                module.use_l1 = last
        if self._switch(runner.train_dataloader.dataset, not last):
            runner.train_dataloader._iterator = None  # workers that persist have the old pipeline
            what = 'without mixed samples and with' if last else 'with mixed samples and without'
            runner.logger.info(f'Epoch {runner.epoch + 1}: trains {what} the L1 loss')

    def _switch(self, dataset, enabled: bool) -> bool:
        """Whether any transform changed."""
        changed = False
        for part in getattr(dataset, 'datasets', [dataset]):
            for transform in getattr(part, 'pipeline', ()):
                if getattr(transform, 'enabled', enabled) != enabled:
                    transform.enabled = enabled
                    changed = True
        return changed


def _model(runner) -> nn.Module:
    return getattr(runner.model, 'module', runner.model)
