"""Whether the values of a config have the types that constructors say, before any of them is built.

What our own constructors leave without a default must be given, and a value whose parameter is
annotated by plain types must be one of them.
"""

import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mmengine import Config

from mmdet.core.errors import ConfigError
from mmdet.registry import closest

PLAIN = (int, float, str, bool, type(None))
# what builders put in: runner, data set, parameters
INJECTED = {
    *('args', 'batch_size', 'data_source', 'dataloader', 'dataset', 'evaluator', 'kwargs', 'model'),
    *('module', 'optimizer', 'params', 'runner', 'sampler', 'self'),
}
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
LOADER_TYPES = {
    **dict.fromkeys(('batch_size', 'num_workers', 'prefetch_factor'), int),
    **dict.fromkeys(('persistent_workers', 'pin_memory', 'drop_last'), bool),
    'timeout': (int, float),
}
DICTS = (*LOADERS, 'model', 'optim_wrapper', 'train_cfg', 'val_cfg', 'test_cfg', 'default_hooks')
DICTS += ('env_cfg', 'auto_scale_lr', 'randomness', 'visualizer', 'log_processor')
LISTS = ('custom_hooks',)
TEXTS = ('work_dir', 'default_scope', 'launcher', 'log_level', 'experiment_name')
# where a dict without a `type` cannot be built
TYPED = ('model', 'optim_wrapper.optimizer', *(f'{name}.dataset' for name in LOADERS))
TYPED += tuple(f'{name}.sampler' for name in LOADERS) + ('val_evaluator', 'test_evaluator')
TYPED += ('custom_hooks', 'param_scheduler')
TYPED_LISTS = ('pipeline', 'transforms', 'datasets')  # of anything in a data set


def dicts_below(node: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Mapping]]:
    """All dicts in `node`, which may be one, outermost first, with their paths."""
    if isinstance(node, Mapping):
        yield path, node
        for key, value in node.items():
            yield from dicts_below(value, (*path, str(key)))
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            yield from dicts_below(value, (*path, str(index)))


def check_structure(cfg: Config) -> None:
    """Dicts where dicts belong, and a `type` in what is to be built; or else a ConfigError that
    names the dotted path, what was given and what is legal."""
    for name, kind, word in (
        *((name, Mapping, 'a dict') for name in DICTS),
        *((name, (list, tuple), 'a list of dicts') for name in LISTS),
        *((name, str, 'a text') for name in TEXTS),
    ):
        value = cfg.get(name)
        if value is not None and not isinstance(value, kind):
            raise ConfigError(f'`{name}` must be {word}, not {_shown(value)}.')
    for path in TYPED:
        _check_has_type(_at(cfg, path), path)
    for name in LOADERS:
        loader = cfg.get(name) or {}
        for path, node in dicts_below(loader.get('dataset'), (name, 'dataset')):
            for key in TYPED_LISTS:
                _check_has_type(node.get(key), '.'.join((*path, key)))
        for key, kind in LOADER_TYPES.items():
            _check_number(loader.get(key), kind, f'{name}.{key}')


def _at(cfg: Config, path: str) -> Any:
    node: Any = cfg
    for part in path.split('.'):
        node = node.get(part) if isinstance(node, Mapping | Config) else None
    return node


def _check_has_type(node: Any, path: str) -> None:
    if node is None:
        return
    if isinstance(node, list | tuple):
        for i, entry in enumerate(node):
            if not callable(entry):
                _check_has_type(entry if entry is not None else 0, f'{path}.{i}')
    elif not isinstance(node, Mapping):
        raise ConfigError(f'`{path}` must be a dict with a `type`, not {_shown(node)}.')
    elif 'type' not in node:
        raise ConfigError(
            f'`{path}` has no `type`, which says what is built from it. '
            f'{closest("type", list(map(str, node)))}'
        )


def _check_number(value: Any, kind: type | tuple[type, ...], path: str) -> None:
    if value is None:
        return
    right = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    if not right or (kind is not bool and value < 0):
        name = 'True or False' if kind is bool else 'a number of 0 or more'
        raise ConfigError(f'`{path}` must be {name}, not {_shown(value)}.')
    if path.endswith('batch_size') and value < 1:
        raise ConfigError(f'`{path}` must be 1 or more, not {value}.')


def check_values(constructor: Callable, node: Mapping, place: str) -> None:
    """Compare the values of a dict with the signature of what is built from it; ConfigError: an
    argument of a class of ours is missing, or a value has another type."""
    try:
        parameters = inspect.signature(constructor).parameters
        function = constructor.__init__ if inspect.isclass(constructor) else constructor
        hints = typing.get_type_hints(function)
    except (TypeError, ValueError, NameError):
        return
    if inspect.isclass(constructor) and constructor.__module__.startswith('mmdet.'):
        missing = [
            name
            for name, parameter in parameters.items()
            if parameter.default is parameter.empty
            and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
            and name not in INJECTED | node.keys()
        ]
        if missing:
            raise ConfigError(
                f'`{place}` ({node["type"]}) needs {", ".join(f"`{name}`" for name in missing)}.'
            )
    for name, value in node.items():
        kinds = _plain_kinds(hints.get(name))
        if name in parameters and kinds and not _fits(value, kinds):
            legal = ' or '.join(sorted({'None' if k is type(None) else _word(k) for k in kinds}))
            raise ConfigError(f'`{place}.{name}` must be {legal}, not {_shown(value)}.')


def _plain_kinds(hint: Any) -> tuple[type, ...]:
    """The types of an annotation that says no others than plain ones, sequences and mappings."""
    if hint is None or hint is Any:
        return ()
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    parts = typing.get_args(hint) if union else (hint,)
    kinds = tuple(typing.get_origin(part) or part for part in parts)
    known = (*PLAIN, dict, list, tuple, Mapping, Sequence)
    return kinds if all(kind in known for kind in kinds) else ()


def _fits(value: Any, kinds: tuple[type, ...]) -> bool:
    if isinstance(value, bool):
        return bool in kinds
    if isinstance(value, int) and float in kinds:
        return True
    if isinstance(value, list | tuple):  # configs write either
        return any(kind in (list, tuple, Sequence) for kind in kinds)
    if isinstance(value, str):
        return str in kinds
    return isinstance(value, kinds)


def _word(kind: type) -> str:
    words = {int: 'a whole number', float: 'a number', str: 'a text', bool: 'True or False'}
    if kind in (dict, Mapping):
        return 'a dict'
    return words.get(kind, 'a list')


def _shown(value: Any) -> str:
    text = repr(value)
    return f'{text if len(text) <= 60 else text[:57] + "..."} ({type(value).__name__})'
