"""Do the classes of a config fit the categories of an annotation file."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

from mmdet.core.errors import ConfigError
from mmdet.datasets.selection import label_of_category
from mmdet.engine.config_check import check_class_count
from mmdet.engine.config_load import load_config
from mmdet.programs.check.faults import FaultLog
from mmdet.programs.check.scan import Scanned
from mmdet.registry import DATASETS

CONFIG = 'config'
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def check_config_fits(scanned: Scanned, config: Path, log: FaultLog) -> None:
    """Compare categories with the classes of the config's datasets, and these with the model.

    Looked at are the datasets that read this annotation file or, if none does, all of them.
    """
    try:
        cfg = load_config(config)
    except ConfigError as error:
        log.add(CONFIG, str(config), str(error))
        return
    datasets = [pair for loader in LOADERS for pair in _datasets(cfg.get(loader), loader)]
    mine = [pair for pair in datasets if _is_same(pair[1].get('ann_file'), scanned.path)]
    if not mine:
        log.notes.append(f'No dataset of {config} reads {scanned.path}; all were compared with it.')
    said = set()
    for place, dataset in mine or datasets:
        try:
            classes = _classes(dataset, scanned)
            seen = SimpleNamespace(classes=classes, ann_file=scanned.path)
            check_class_count(cfg.get('model'), seen, place)
        except (ValueError, KeyError) as error:
            if str(error) not in said:
                said.add(str(error))
                log.add(CONFIG, f'{place} of {config}', str(error))


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


def _classes(dataset: Mapping, scanned: Scanned) -> list[str]:
    """The classes of a dataset; raises ValueError if the file does not have them."""
    known = getattr(DATASETS.get(dataset['type']), 'CLASSES', None)
    classes = list(dataset.get('classes') or known or scanned.categories)
    categories = zip(scanned.category_ids.tolist(), scanned.categories, strict=True)
    file = SimpleNamespace(
        ann_file=scanned.path, categories=[{'id': i, 'name': name} for i, name in categories]
    )
    label_of_category(file, classes)
    return classes


def _is_same(path: str | None, other: Path) -> bool:
    return path is not None and os.path.realpath(path) == os.path.realpath(other)
