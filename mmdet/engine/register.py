"""Importing this registers everything of the engine (the registries do, on first use).

`mmdet.engine` itself imports nothing, so that a tool which only writes files starts at once.
"""

from mmdet.engine import checkpoint_hook, hooks, loops, optim, runner, training_hooks

__all__ = ['checkpoint_hook', 'hooks', 'loops', 'optim', 'runner', 'training_hooks']
