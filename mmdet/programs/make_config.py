"""A config for one's own dataset: a base experiment with other classes, files and class count."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine import Config
from mmengine.registry import init_default_scope

from mmdet.core.errors import ConfigError
from mmdet.core.fileio import atomic_write
from mmdet.core.text import read_text
from mmdet.datasets.parsers import CocoVideoIndex
from mmdet.engine.config_check import check_config, class_counts
from mmdet.engine.config_load import load_config

WIDTH = 100  # columns
TEMPLATE = """\
# {count} classes of {ann_train}, on the model and schedule of the base.
# Written by tools/make_config.py; change what you like.
_base_ = {base!r}

{classes}

model = _base_.model
{class_counts}

train_set = {train_set}  # pipeline and references as in the base
train_set.update(
    type='CocoVideoDataset',
    classes=classes,
    ann_file={ann_train!r},
    img_prefix={img_root!r},
)
train_dataloader = dict(dataset=dict(_delete_=True, **train_set))
val_dataloader = dict(
    dataset=dict(
        type='CocoVideoDataset',
        classes=classes,
        ann_file={ann_val!r},
        img_prefix={img_root_val!r},
    )
)
test_dataloader = val_dataloader

val_evaluator = dict(ann_file={ann_val!r})
test_evaluator = val_evaluator
"""


@dataclass
class OwnData:
    """The user's files; `img_root_val` None stands for the same folder."""

    ann_train: Path
    ann_val: Path
    img_root: Path
    img_root_val: Path | None = None


def make_config(base: Path, data: OwnData, out: Path, overwrite: bool = False) -> list[str]:
    """Write a config that inherits `base`, and check it.

    Class names and their number come from the training annotations. Paths are written as they were
    given: like those of the other configs, they count from the working directory.

    Returns:
        the class names.

    Raises:
        ConfigError: the categories of the two files differ, the base is no whole experiment, or
            `out` is there already.
        AnnotationError, FileNotFoundError: a file that cannot be used.
    """
    if out.exists() and not overwrite:
        raise ConfigError(f'{out} is there already: choose another name, or add --overwrite.')
    if out.suffix != '.py':
        raise ConfigError(f'A config is a .py file, got {out}.')
    for folder in filter(None, (data.img_root, data.img_root_val)):
        if not folder.is_dir():
            raise ConfigError(f'There is no image folder {folder}.')
    classes = common_classes(data.ann_train, data.ann_val)
    cfg = load_config(base)
    text = config_text(cfg, os.path.relpath(base.resolve(), out.resolve().parent), data, classes)
    before = read_text(out, ConfigError) if out.exists() else None
    with atomic_write(out) as file:
        file.write(text)
    try:
        _check(out, data, classes)
    except ConfigError:
        out.unlink()
        if before is not None:
            with atomic_write(out) as file:
                file.write(before)
        raise
    return classes


def common_classes(ann_train: Path, ann_val: Path) -> list[str]:
    """Category names of the training file in its order; the other file must have the same ones."""
    train, val = (_categories(path) for path in (ann_train, ann_val))
    differences = [
        f'{path} has no {", ".join(map(repr, missing))}'
        for path, missing in (
            (ann_val, [name for name in train if name not in val]),
            (ann_train, [name for name in val if name not in train]),
        )
        if missing
    ]
    if differences:
        raise ConfigError(
            f'Training and validation must have the same categories, but {"; ".join(differences)}. '
            f'Convert both with the same --classes, or in one go with --val-fraction.'
        )
    if not train:
        raise ConfigError(f'{ann_train} has no categories.')
    return train


def _categories(path: Path) -> list[str]:
    return [category['name'] for category in CocoVideoIndex.open(path).categories]


def config_text(cfg: Config, base: str, data: OwnData, classes: list[str]) -> str:
    """The text of the config; `cfg` is the base, `base` its path as the config names it."""
    counts = [path for path, _ in class_counts(cfg.get('model'), ('model',))]
    if not counts:
        raise ConfigError(f'{cfg.filename}: its model has no num_classes to set.')
    names = f'classes = {tuple(classes)!r}'
    if len(names) > WIDTH:
        names = '\n'.join(['classes = (', *(f'    {name!r},' for name in classes), ')'])
    text = TEMPLATE.format(
        count=len(classes),
        ann_train=str(data.ann_train),
        ann_val=str(data.ann_val),
        img_root=str(data.img_root),
        img_root_val=str(data.img_root_val or data.img_root),
        base=base,
        classes=names,
        class_counts='\n'.join(f'{_access(path)} = {len(classes)}' for path in counts),
        train_set=_access(_video_set(cfg)),
    )
    if cfg.get('expected') is not None:
        text += '\nexpected = None  # the result of the base is that of its own data\n'
    return text


def _video_set(cfg: Config) -> tuple[str, ...]:
    """Where the base has its training set of videos."""
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if not isinstance(cfg.get(name), Mapping) or 'dataset' not in cfg[name]:
            raise ConfigError(
                f'{cfg.filename} has no {name}.dataset: the base must be a whole experiment, such '
                f'as those in configs/vid.'
            )
    place = ('_base_', 'train_dataloader', 'dataset')
    dataset = cfg.train_dataloader.dataset
    if 'datasets' not in dataset:
        return place
    for i, part in enumerate(dataset.datasets):
        if part.get('load_as_video', True):
            return (*place, 'datasets', str(i))
    raise ConfigError(f'{cfg.filename}: none of the datasets it trains on is one of videos.')


def _access(path: tuple[str, ...]) -> str:
    """Python for a path of keys and list indices."""
    first, *rest = path
    return first + ''.join(f'[{part}]' if part.isdigit() else f'.{part}' for part in rest)


def _check(out: Path, data: OwnData, classes: list[str]) -> None:
    """Read the config as training will, and compare it with what was asked for."""
    cfg = load_config(out)
    init_default_scope(cfg.get('default_scope') or 'mmdet')
    check_config(cfg)
    wanted: list[tuple[str, Any, Any]] = [
        ('train_dataloader', cfg.train_dataloader.dataset.ann_file, str(data.ann_train)),
        ('val_dataloader', cfg.val_dataloader.dataset.ann_file, str(data.ann_val)),
        ('test_dataloader', cfg.test_dataloader.dataset.ann_file, str(data.ann_val)),
        ('val_evaluator', cfg.val_evaluator.ann_file, str(data.ann_val)),
        ('test_evaluator', cfg.test_evaluator.ann_file, str(data.ann_val)),
        ('classes', tuple(cfg.train_dataloader.dataset.classes), tuple(classes)),
        *(('.'.join(p), n, len(classes)) for p, n in class_counts(cfg.model, ('model',))),
    ]
    for place, found, expected in wanted:
        if found != expected:
            raise ConfigError(
                f'The base does not take the change of {place}: it stays {found!r} instead of '
                f'{expected!r}. Choose another base.'
            )
