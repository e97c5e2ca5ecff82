"""Do the classes of a config fit the categories of an annotation file."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

from mmdet.core.errors import ConfigError
from mmdet.datasets.parsers import CocoVideoIndex
from mmdet.datasets.selection import label_of_category
from mmdet.engine.config_check import check_class_count
from mmdet.engine.config_load import load_config
from mmdet.programs.check.faults import FaultLog
from mmdet.registry import DATASETS

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def check_config_fits(index: CocoVideoIndex, config: Path, log: FaultLog) -> None:
    """Compare categories with the classes of the config's datasets, and these with the model.

    Looked at are the datasets that read this annotation file or, if none does, all of them.
    """
    try:
        cfg = load_config(config)
    except ConfigError as error:
        log.add('config', str(config), str(error))
        return
    datasets = [pair for loader in LOADERS for pair in _datasets(cfg.get(loader), loader)]
    mine = [pair for pair in datasets if _is_same(pair[1].get('ann_file'), index.ann_file)]
    if not mine:
        log.notes.append(
            f'No dataset of {config} reads {index.ann_file}; all were compared with it.'
        )
    faults: dict[str, str] = {}  # what is said once, and of which dataloader
    for place, dataset in mine or datasets:
        try:
            seen = SimpleNamespace(classes=_classes(dataset, index), ann_file=index.ann_file)
            label_of_category(index, seen.classes)
            check_class_count(cfg.get('model'), seen, place)
        except (ValueError, KeyError) as error:
            faults.setdefault(str(error), place)
    for fault, place in faults.items():
        log.add('config', f'{place} of {config}', fault)


def _datasets(loader: Mapping | None, place: str) -> Iterator[tuple[str, Mapping]]:
    """(dataloader, dataset with an annotation file) of a config, through concatenations."""
    waiting = [loader.get('dataset')] if isinstance(loader, Mapping) else []
    while waiting:
        dataset = waiting.pop(0)
        if not isinstance(dataset, Mapping):
            continue
        if 'ann_file' in dataset:
            yield place, dataset
        waiting += [dataset.get('dataset'), *dataset.get('datasets', ())]


def _classes(dataset: Mapping, index: CocoVideoIndex) -> list[str]:
    known = getattr(DATASETS.get(dataset['type']), 'CLASSES', None)
    return list(dataset.get('classes') or known or [c['name'] for c in index.categories])


def _is_same(path: str | None, other: Path) -> bool:
    return path is not None and os.path.realpath(path) == os.path.realpath(other)
