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
