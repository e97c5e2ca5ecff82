"""The model's plans in the data sets of a run: which references every key frame gets."""

from typing import Any

from torch import nn


def use_plans(model: nn.Module, dataset: Any, mode: str) -> None:
    """Give a data set, or each part of one, the model's plan.

    Args:
        mode: 'train', 'offline' or 'causal'.

    Raises:
        ConfigError: references of a kind that the method, or the order of frames, does not allow.
    """
    model = getattr(model, 'module', model)
    if not hasattr(model, 'plan'):  # a model of somebody's own takes what the config says
        return
    for part in getattr(dataset, 'datasets', [dataset]):
        if hasattr(part, 'use_plan'):
            part.use_plan(model.plan(mode, part.ref_img_sampler))
