"""Compiling the parts of a model that do the same for every frame."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from mmdet.core.errors import ConfigError
from mmdet.registry import closest

PARTS = ('backbone', 'neck')


def compile_static_parts(model: nn.Module, options: Mapping[str, Any] | bool = True) -> None:
    """`torch.compile` backbone and neck, in place, in training and testing; names of weights stay.

    The first frames of each size take longer: half a minute for a ResNet on two cores.

    Args:
        model: a detector, or a video model that has one as `detector`.
        options: arguments of `torch.compile`; True: its defaults.
    """
    options = {} if options is True else dict(options)
    legal = set(inspect.signature(torch.compile).parameters) - {'model'}
    unknown = [key for key in options if key not in legal]
    if unknown:
        raise ConfigError(
            f'`compile` has the unknown key {unknown[0]!r}. {closest(unknown[0], legal)}'
        )
    detector = getattr(model, 'detector', model)
    parts = [part for name in PARTS if isinstance(part := getattr(detector, name, None), nn.Module)]
    if not parts:
        raise ConfigError(
            f'`compile` (--compile) compiles {" and ".join(PARTS)}, and a '
            f'{type(detector).__name__} has neither: omit it.'
        )
    for part in parts:
        part.forward = torch.compile(part.forward, **options)
