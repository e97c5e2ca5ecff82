"""The project's registries: children of mmengine's, with errors that say what was meant.

A name that no registry knows lists the closest known ones; a config key that no constructor takes
is refused before anything is built, naming both sides.
"""

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import mmengine.registry as root
from mmengine.registry import Registry as MMEngineRegistry


def closest(name: str, known: Iterable[str]) -> str:
    """One sentence listing the known names and the likeliest one, for error messages."""
    known = sorted(known)
    matches = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f' Did you mean {" or ".join(repr(m) for m in matches)}?' if matches else ''
    return f'Known: {", ".join(known) or "none"}.{hint}'


def check_arguments(constructor: Callable, given: Iterable[str], where: str = '') -> None:
    """Refuse config keys that `constructor` does not take.

    Raises:
        TypeError: names the keys, the constructor, the legal keys and the likeliest one meant.
    """
    parameters = inspect.signature(constructor).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    unknown = [key for key in given if key not in parameters]
    if unknown:
        name = getattr(constructor, '__name__', str(constructor))
        place = f' at `{where}`' if where else ''
        raise TypeError(
            f'{name} does not take the config key {unknown[0]!r}{place}. '
            f'{closest(unknown[0], parameters)}'
        )


class Registry(MMEngineRegistry):
    """A registry whose errors list what exists."""

    def known_names(self) -> set[str]:
        names = set(self.module_dict)
        return names | (set(self.parent.module_dict) if self.parent is not None else set())

    def get(self, key: str) -> Any:
        try:
            found = super().get(key)
        except RuntimeError:  # mmengine's last resort: a dotted path that does not import
            found = None
        if found is None:
            raise KeyError(
                f'Unknown {self.name} {key!r}. {closest(key, self.known_names())} '
                f'A class of your own is found once its module is named in `custom_imports`.'
            )
        return found

    def build(self, cfg: Mapping, *args, **kwargs) -> Any:
        if isinstance(cfg, Mapping) and isinstance(cfg.get('type'), str):
            check_arguments(self.get(cfg['type']), [k for k in cfg if k not in ('type', '_scope_')])
        return super().build(cfg, *args, **kwargs)


def _child(parent: MMEngineRegistry, *locations: str) -> Registry:
    return Registry(
        parent.name,
        parent=parent,
        scope='mmdet',
        build_func=parent.build_func,
        locations=[f'mmdet.{location}' for location in locations],
    )


MODELS = _child(root.MODELS, 'models')
TASK_UTILS = _child(root.TASK_UTILS, 'models')
DATASETS = _child(root.DATASETS, 'datasets')
TRANSFORMS = _child(root.TRANSFORMS, 'datasets')
DATA_SAMPLERS = _child(root.DATA_SAMPLERS, 'datasets')
FUNCTIONS = _child(root.FUNCTIONS, 'datasets')
METRICS = _child(root.METRICS, 'evaluation')
RUNNERS = _child(root.RUNNERS, 'engine.register')
LOOPS = _child(root.LOOPS, 'engine.register')
HOOKS = _child(root.HOOKS, 'engine.register')
OPTIM_WRAPPERS = _child(root.OPTIM_WRAPPERS, 'engine.register')
MODEL_WRAPPERS = _child(root.MODEL_WRAPPERS, 'engine.register')
LOG_PROCESSORS = _child(root.LOG_PROCESSORS, 'engine.register')
OPTIMIZERS = _child(root.OPTIMIZERS, 'engine.register')
OPTIM_WRAPPER_CONSTRUCTORS = _child(root.OPTIM_WRAPPER_CONSTRUCTORS, 'engine.register')
PARAM_SCHEDULERS = _child(root.PARAM_SCHEDULERS, 'engine.register')
VISUALIZERS = _child(root.VISUALIZERS, 'engine.register')
VISBACKENDS = _child(root.VISBACKENDS, 'engine.register')
WEIGHT_INITIALIZERS = _child(root.WEIGHT_INITIALIZERS, 'models')
