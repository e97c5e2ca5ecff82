"""Importing this registers everything of the engine (the registries do, on first use).

`mmdet.engine` itself imports nothing, so that a tool which only writes files starts at once.
"""

from mmdet.engine import (
    amp,
    checkpoint_hook,
    ema_hook,
    hooks,
    last_epochs_hook,
    loops,
    loss_log,
    multi_scale_hook,
    optim,
    runner,
)

__all__ = [
    'amp',
    'checkpoint_hook',
    'ema_hook',
    'hooks',
    'last_epochs_hook',
    'loops',
    'loss_log',
    'multi_scale_hook',
    'optim',
    'runner',
]
