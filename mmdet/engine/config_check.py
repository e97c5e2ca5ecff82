"""Finding mistakes in a config before any work: each error names the dotted path and what is legal.

Every dict with a `type` is looked up in the registry that its place belongs to, and its keys are
compared with the constructor's. Unknown top-level keys are helper variables (`data_root`) unless
they look like a misspelt setting (`optim_wraper`) or are settings of 1.x.
"""

import difflib
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mmengine import Config
from mmengine.runner import Runner
from mmengine.utils import import_modules_from_strings
from torch.utils.data import DataLoader

import mmdet.registry as ours
from mmdet.core.errors import ConfigError
from mmdet.engine.config_types import check_structure, check_values, dicts_below
from mmdet.plans import DEFAULT_METHOD, METHODS
from mmdet.registry import check_arguments, closest
from mmdet.stage_plans import STAGE_METHODS

# what our runner and tools read beside the arguments of mmengine's Runner
OWN_KEYS = {
    *('activation_checkpointing', 'allow_partial', 'compile', 'custom_imports', 'device'),
    *('expected', 'find_unused_parameters', 'model_wrapper_cfg', 'sync_bn', 'training_graphs'),
    'trust_checkpoint',
}
KNOWN_KEYS = (set(inspect.signature(Runner.__init__).parameters) | OWN_KEYS) - {'self', 'cfg'}
MISSPELT = 0.85  # names closer than this to a known key are taken for typing errors

# settings of 1.x, and what stands for them now
OLD_KEYS = {
    'checkpoint_config': 'default_hooks.checkpoint',
    'evaluation': 'val_evaluator and train_cfg.val_interval',
    'fp16': 'optim_wrapper, or --amp',
    'log_config': 'default_hooks.logger and visualizer',
    'lr_config': 'param_scheduler',
    'optimizer': 'optim_wrapper.optimizer',
    'optimizer_config': 'optim_wrapper.clip_grad',
    'resume_from': 'resume, or --resume-from',
    'total_epochs': 'train_cfg.max_epochs',
}

# which registry a dict with a `type` belongs to, by the last matching key on its path
TASK_PARTS = ('anchor_generator', 'assigner', 'bbox_coder')
REGISTRIES = {
    'model': ours.MODELS,
    **dict.fromkeys(TASK_PARTS, ours.TASK_UTILS),
    'model_wrapper_cfg': ours.MODEL_WRAPPERS,
    **dict.fromkeys(('dataset', 'datasets'), ours.DATASETS),
    **dict.fromkeys(('pipeline', 'transforms'), ours.TRANSFORMS),
    **dict.fromkeys(('sampler', 'batch_sampler'), ours.DATA_SAMPLERS),
    **dict.fromkeys(('collate_fn', 'worker_init_fn'), ours.FUNCTIONS),
    **dict.fromkeys(('train_cfg', 'val_cfg', 'test_cfg'), ours.LOOPS),
    **dict.fromkeys(('val_evaluator', 'test_evaluator'), ours.METRICS),
    'optim_wrapper': ours.OPTIM_WRAPPERS,
    'optimizer': ours.OPTIMIZERS,
    'param_scheduler': ours.PARAM_SCHEDULERS,
    **dict.fromkeys(('default_hooks', 'custom_hooks'), ours.HOOKS),
    'visualizer': ours.VISUALIZERS,
    'vis_backends': ours.VISBACKENDS,
    'log_processor': ours.LOG_PROCESSORS,
}
ENV_KEYS = {'cudnn_benchmark', 'dist_cfg', 'mp_cfg', 'resource_limit', 'tf32'}
# read by whoever holds them, in no registry
UNREGISTERED = {'init_cfg', 'nms', 'roi_layer', 'norm_cfg', 'conv_cfg', 'act_cfg', 'clip_grad'}
# keys that the builder takes out or puts in before it calls the constructor
BUILDER_KEYS = {
    'optim_wrapper': {'constructor', 'paramwise_cfg'},
    'default_hooks': {'priority'},
    'custom_hooks': {'priority'},
    'param_scheduler': {'convert_to_iter_based'},
    'visualizer': {'name', 'save_dir', 'vis_backends'},
}
LOADER_KEYS = {
    *('dataset', 'sampler', 'batch_sampler', 'collate_fn', 'worker_init_fn'),
    *('num_batch_per_epoch', 'disable_subprocess_warning'),
}


def check_config(cfg: Config) -> None:
    """Look for mistakes in the whole config; honours `custom_imports` first."""
    _import_custom_modules(cfg)
    _check_top_level(cfg)
    check_structure(cfg)
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if isinstance(cfg.get(name), Mapping):
            _check_loader(cfg[name], name)
            if name != 'train_dataloader':
                _check_test_plans(cfg[name]['dataset'], f'{name}.dataset')
    for key in KNOWN_KEYS & set(cfg.keys()):
        for path, node in typed_dicts(cfg[key], (key,)):
            _check_typed(path, node)


def _import_custom_modules(cfg: Config) -> None:
    wanted = cfg.get('custom_imports')
    if not wanted:
        return
    if not isinstance(wanted, Mapping) or set(wanted) - {'imports', 'allow_failed_imports'}:
        raise ConfigError("custom_imports must be dict(imports=['my_package.my_module', ...]).")
    if os.getcwd() not in sys.path:  # a script's own folder is there, not the one it was started in
        sys.path.append(os.getcwd())
    try:
        import_modules_from_strings(**wanted)
    except ImportError as error:
        raise ConfigError(
            f'custom_imports: cannot import {wanted["imports"]}: {error}. Modules are found from '
            f'the working directory ({os.getcwd()}) and from PYTHONPATH.'
        ) from error


def _check_top_level(cfg: Config) -> None:
    for key in cfg:
        if key in KNOWN_KEYS or key.startswith('_'):
            continue
        if key in OLD_KEYS:
            raise ConfigError(
                f'`{key}` is a setting of version 1.x; now it is `{OLD_KEYS[key]}`. '
                f'configs/_base_/ shows the new ones.'
            )
        near = difflib.get_close_matches(key, KNOWN_KEYS, n=1, cutoff=MISSPELT)
        if near:
            raise ConfigError(
                f'Unknown config key `{key}`. Did you mean `{near[0]}`? (A helper variable may '
                f'have any name that no setting resembles.)'
            )
    for key in cfg.get('env_cfg') or {}:
        if key not in ENV_KEYS:
            raise ConfigError(f'`env_cfg` has the unknown key {key!r}. {closest(key, ENV_KEYS)}')
    if 'data' in cfg and 'train_dataloader' not in cfg and 'test_dataloader' not in cfg:
        raise ConfigError(
            '`data` is a setting of version 1.x; now it is `train_dataloader`, `val_dataloader` '
            'and `test_dataloader`. configs/_base_/datasets/ shows them.'
        )


def _check_loader(loader: Mapping, path: str) -> None:
    legal = set(inspect.signature(DataLoader.__init__).parameters) - {'self'} | LOADER_KEYS
    for key in loader:
        if key not in legal:
            raise ConfigError(f'`{path}` has the unknown key {key!r}. {closest(key, legal)}')
    if 'dataset' not in loader:
        raise ConfigError(f'`{path}` needs a `dataset`.')


def _check_test_plans(dataset: Any, path: str) -> None:
    """Refuse references that are drawn at random, as in training, in a data set that is tested."""
    if not isinstance(dataset, Mapping):
        return
    for i, part in enumerate(dataset.get('datasets') or ()):
        _check_test_plans(part, f'{path}.datasets.{i}')
    sampler = dataset.get('ref_img_sampler')
    if not isinstance(sampler, Mapping):
        return
    method = sampler.get('method', DEFAULT_METHOD)
    if method in (*METHODS, *STAGE_METHODS) and not method.startswith('test'):
        legal = ' or '.join(sorted(name for name in METHODS if name.startswith('test')))
        raise ConfigError(
            f'`{path}.ref_img_sampler.method` is {method!r}, which draws references for training: '
            f'set it to {legal}, or `ref_img_sampler=None` for the key frame alone.'
        )


def typed_dicts(node: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Mapping]]:
    """All dicts with a `type` in `node`, outermost first, with their paths."""
    return ((path, found) for path, found in dicts_below(node, path) if 'type' in found)


def _check_typed(path: tuple[str, ...], node: Mapping) -> None:
    named = [part for part in path if not part.isdigit()]
    if named[-1] in UNREGISTERED:
        return
    place = '.'.join(path)
    constructor = node['type']
    if isinstance(constructor, str):
        constructor = _look_up(constructor, named, place)
    if not callable(constructor):
        raise ConfigError(f'`{place}.type` must be a registered name, not {node["type"]!r}.')
    taken = {'type', '_scope_'} | BUILDER_KEYS.get(_owner(named), set())
    try:
        keys = [key for key in node if key not in taken]
        check_arguments(_explicit(constructor), keys, place)
    except TypeError as error:
        hint = ' If it comes from a base config, replace the whole dict: `_delete_=True`.'
        raise ConfigError(f'{error}{"" if "Did you mean" in str(error) else hint}') from error
    check_values(_explicit(constructor), node, place)


def _explicit(constructor: Callable) -> Callable:
    """Of mmengine's schedulers, whose `__init__(*args, **kwargs)` takes all, the base that does
    not."""
    if not getattr(constructor, '__module__', '').startswith('mmengine.optim.scheduler'):
        return constructor
    return next(base for base in constructor.__mro__ if base.__name__.endswith('ParamScheduler'))


def _owner(named: list[str]) -> str:
    """The key on the path that decides the registry: the last one that has one."""
    if named[0] == 'default_hooks' and len(named) == 2:  # names of hooks are free
        return 'default_hooks'
    return next((part for part in reversed(named) if part in REGISTRIES), named[0])


def _look_up(name: str, named: list[str], place: str) -> Callable:
    """The constructor called `name` from the registry of its place."""
    registries = [REGISTRIES[_owner(named)]] if _owner(named) in REGISTRIES else []
    if named[0] == 'model':  # its parts are modules or task helpers, whatever their keys
        registries = [ours.TASK_UTILS, ours.MODELS]
        if _owner(named) not in (*TASK_PARTS, 'sampler'):
            registries.reverse()
    for registry in registries:
        try:
            found = registry.get(name)
        except (KeyError, RuntimeError):
            found = None
        if found is not None:
            return found
    known = {key for registry in registries for key in registry.known_names()}
    raise ConfigError(
        f'`{place}.type` is {name!r}, which is not registered. {closest(name, known)} '
        f'A class of your own is found once its module is named in `custom_imports`.'
    )


def check_class_count(model: Mapping | None, dataset: Any, where: str) -> None:
    """Refuse a model whose `num_classes` is not that of a data set."""
    classes = getattr(dataset, 'classes', None)
    if classes is None or not isinstance(model, Mapping):
        return
    for path, count in class_counts(model, ('model',)):
        if count != len(classes):
            parts = getattr(dataset, 'datasets', [dataset])
            files = ', '.join(str(getattr(part, 'ann_file', '?')) for part in parts)
            shown = ', '.join([*list(classes)[:3], *['...'] * (len(classes) > 3)])
            raise ConfigError(
                f'`{".".join(path)}` is {count}, but `{where}` has {len(classes)} classes '
                f'({shown}; {files}). Set it to {len(classes)}, or name the '
                f'classes to use with `classes` of the dataset.'
            )


def class_counts(node: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
    """Every `num_classes` of a head that classifies boxes (an RPN has one class by nature)."""
    for place, found in dicts_below(node, path):
        if isinstance(found.get('num_classes'), int) and 'rpn_head' not in place:
            yield (*place, 'num_classes'), found['num_classes']
