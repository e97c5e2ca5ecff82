"""Settings that are plain dicts in a config (`train_cfg`, `test_cfg`)."""

from collections.abc import Mapping

from mmdet.core.errors import ConfigError
from mmdet.registry import closest


def settings(cfg: Mapping, where: str, *required: str, **defaults: object) -> dict:
    """`cfg` over `defaults`; refuses a key that is neither, and a required key that is missing.

    Args:
        where: the dict's place in the config, for the message.

    Raises:
        ConfigError: names the key and the legal ones.
    """
    legal = {*required, *defaults}
    for key in cfg:
        if key not in legal:
            raise ConfigError(f'`{where}` has no key {key!r}. {closest(key, legal)}')
    for key in required:
        if key not in cfg:
            raise ConfigError(f'`{where}` lacks the key {key!r}; it holds {sorted(cfg)}.')
    return {**defaults, **cfg}


def training_settings(cfg: Mapping, where: str, **defaults: object) -> dict:
    """What a stage trains with: `assigner` and `sampler`, and the settings of its own.

    `pos_weight` and `debug` stand in every 1.x config; other values than those never did anything.

    Raises:
        ConfigError: an unknown key, or a value that would be ignored.
    """
    checked = settings(cfg, where, 'assigner', 'sampler', pos_weight=-1, debug=False, **defaults)
    for key, only in (('pos_weight', -1), ('debug', False)):
        if checked[key] != only:
            raise ConfigError(f'`{where}.{key}` is {checked[key]!r}: only {only!r} is supported.')
    return checked


def nms_settings(cfg: Mapping, where: str) -> dict:
    """Settings of a suppression, of which there is one kind.

    Raises:
        ConfigError: an unknown key, or another `type`.
    """
    checked = settings(cfg, where, 'iou_threshold', type='nms', legacy=False)
    if checked['type'] != 'nms':
        raise ConfigError(f'`{where}.type` is {checked["type"]!r}. Known: nms.')
    return checked
