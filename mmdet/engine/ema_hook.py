"""Validating and saving the running average of the weights instead of the last ones."""

import math

import torch
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

    Args:
        momentum: see above, in 0..1.
        warm_up: in steps.
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


def _model(runner) -> nn.Module:
    return getattr(runner.model, 'module', runner.model)
