"""The classes of a run against those that its checkpoint was trained on.

A checkpoint knows what its labels mean (`meta.CLASSES`). The order of a class list is arbitrary, so
a run takes that of its checkpoint; other names are another task.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine import Config
from mmengine.logging import print_log

from mmdet.core.checkpoint_file import load_checkpoint_file
from mmdet.core.class_names import both_lists, labels_by_name
from mmdet.core.errors import CheckpointError
from mmdet.datasets.parsers import CocoVideoIndex
from mmdet.registry import DATASETS

_LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
_EVALUATORS = ('val_evaluator', 'test_evaluator')


def classes_of(checkpoint: Mapping) -> tuple[str, ...] | None:
    """Class names in the meta data of our checkpoints and of 1.x."""
    meta = checkpoint.get('meta')
    names = meta.get('CLASSES') if isinstance(meta, Mapping) else None
    return tuple(map(str, names)) if names and isinstance(names, (list, tuple)) else None


def named_classes(dataset: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The names, by label, that the config of a dataset or the class of it says; None: neither."""
    if dataset.get('classes'):
        return tuple(dataset['classes'])
    kind = dataset.get('type')
    kind = DATASETS.get(kind) if isinstance(kind, str) else kind
    return tuple(getattr(kind, 'CLASSES', None) or ()) or None


def configured_classes(dataset: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The names, by label, that the dataset of this config will have, if need be those of its
    annotation file; None where nothing says."""
    named = named_classes(dataset)
    if named is not None:
        return named
    file = dataset.get('ann_file')
    if not isinstance(file, str) or not Path(file).is_file():
        return None
    return tuple(c['name'] for c in CocoVideoIndex.open(file, dataset.get('cache_dir')).categories)


def follow_checkpoint(cfg: Config) -> None:
    """Give the datasets and evaluators of a run the class order of the checkpoint it loads.

    Other names of the same number are refused, unless `allow_partial` is set. (Another number does
    not fit the weights, which is said, or is what was wanted, before a training of a new model.)
    """
    source = cfg.get('load_from')
    holders = list(_holders(cfg))
    if not source or not holders:
        return
    checkpoint = load_checkpoint_file(source, cfg.get('trust_checkpoint', False))
    names = classes_of(checkpoint)
    turned = False
    for holder, configured in holders if names else ():
        if configured == names or len(configured) != len(names):
            continue
        if labels_by_name(configured, names) is None:
            _refuse(cfg, str(source), names, configured)
        else:
            holder['classes'] = list(names)
            turned = True
    if turned:
        print_log(
            f'{source} was trained with its classes in another order than those of the config. '
            f'Labels go by name, in the order of the checkpoint: {", ".join(names)}.',
            logger='current',
            level=logging.WARNING,
        )


def _holders(cfg: Config) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """Configs that have class names, with the names."""
    for key in _LOADERS:
        loader = cfg.get(key)
        for dataset in _leaves(loader.get('dataset') if isinstance(loader, Mapping) else None):
            names = configured_classes(dataset)
            if names is not None:
                yield dataset, names
    for key in _EVALUATORS:
        evaluators = cfg.get(key) or ()
        for evaluator in [evaluators] if isinstance(evaluators, Mapping) else evaluators:
            if isinstance(evaluator, Mapping) and evaluator.get('classes'):
                yield evaluator, tuple(evaluator['classes'])


def _leaves(dataset: Any) -> Iterator[Any]:
    if not isinstance(dataset, Mapping):
        return
    if dataset.get('datasets'):
        for part in dataset['datasets']:
            yield from _leaves(part)
    else:
        yield dataset


def _refuse(cfg: Config, source: str, names: Sequence[str], configured: Sequence[str]) -> None:
    lists = both_lists('The checkpoint', names, 'the config', configured)
    text = f'{source} was trained on other classes than those of the config. {lists}'
    if not cfg.get('allow_partial', False):
        raise CheckpointError(
            f'{text} Set `classes` of the datasets to the names of the checkpoint, in any order. '
            f'If the labels are to mean something else now: --cfg-options allow_partial=True.'
        )
    print_log(text, logger='current', level=logging.WARNING)
