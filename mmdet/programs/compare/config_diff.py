"""Which keys of two configs differ."""

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine import Config

from mmdet.engine.config_load import default_work_dir

_ABSENT = object()


def differences(old: Config, new: Config) -> list[tuple[str, str, str]]:
    """(dotted key, old value, new value) of every key that differs, in the order of the configs.

    Dicts are compared key by key, lists of dicts (pipelines) entry by entry, other lists whole.
    Values are written as Python, 'absent' stands for a key that one side lacks. Work dirs that are
    named after the files are no difference.
    """
    sides = [cfg.to_dict() for cfg in (old, new)]
    if all(cfg.get('work_dir') == default_work_dir(cfg) for cfg in (old, new)):
        for side in sides:
            side.pop('work_dir', None)
    return [(key, _shown(a), _shown(b)) for key, a, b in _walk(*sides, '')]


def _walk(old: Any, new: Any, key: str) -> Iterator[tuple[str, Any, Any]]:
    """The differing leaves below `key`."""
    parts = _parts(old, new)
    if parts is None:
        if type(old) is not type(new) or old != new:
            yield key, old, new
        return
    first, second = parts
    for part in [*first, *(part for part in second if part not in first)]:
        path = f'{key}.{part}' if key else part
        yield from _walk(first.get(part, _ABSENT), second.get(part, _ABSENT), path)


def _parts(old: Any, new: Any) -> tuple[Mapping, Mapping] | None:
    """Both sides by key or index, where they can be compared part by part (absent: none)."""
    kinds = {_kind(side) for side in (old, new) if side is not _ABSENT and side != {}}
    if len(kinds) != 1 or None in kinds:
        return None
    return _by_name(old), _by_name(new)


def _kind(value: Any) -> type | None:
    """dict or list for what has named or numbered parts, else None."""
    if isinstance(value, Mapping):
        return dict
    is_list = isinstance(value, (list, tuple))
    return list if is_list and any(isinstance(part, Mapping) for part in value) else None


def _by_name(value: Any) -> Mapping:
    if value is _ABSENT:
        return {}
    return value if isinstance(value, Mapping) else {str(i): part for i, part in enumerate(value)}


def _shown(value: Any) -> str:
    return 'absent' if value is _ABSENT else repr(value)
