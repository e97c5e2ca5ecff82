"""A checkpoint knows its classes: a run takes their order, and refuses other names."""

import json
import pickle

import numpy as np
import pytest
import torch
from mmengine import Config

from mmdet.core.errors import CheckpointError, EvaluationError
from mmdet.engine.class_order import configured_classes, follow_checkpoint
from mmdet.evaluation.results import DetectionArrays, read_pkl, write_pkl

NAMES = ['cat', 'dog', 'fox']
TURNED = ['fox', 'dog', 'cat']
OTHER = ['cat', 'dog', 'car']


def ann_file(tmp_path, names) -> str:
    path = tmp_path / 'ann.json'
    categories = [{'id': i, 'name': name} for i, name in enumerate(names, 1)]
    path.write_text(json.dumps({'images': [], 'annotations': [], 'categories': categories}))
    return str(path)


def checkpoint(tmp_path, names=NAMES, **entries) -> str:
    path = tmp_path / 'c.pth'
    meta = {} if names is None else {'CLASSES': names}
    torch.save({'meta': meta, 'state_dict': {'w': torch.zeros(1)}} | entries, path)
    return str(path)


def config(source, classes=None, **changes) -> Config:
    """Training on two joined sets, validation and a test with evaluators."""
    leaf = dict(type='CocoVideoDataset', ann_file='no.json', classes=classes)
    loader = dict(dataset=leaf)
    joined = dict(dataset=dict(type='ConcatDataset', datasets=[dict(leaf), dict(leaf)]))
    evaluator = dict(type='VideoDetectionMetric', classes=classes)
    return Config(
        dict(
            train_dataloader=joined,
            val_dataloader=loader,
            test_dataloader=loader,
            val_evaluator=evaluator,
            test_evaluator=[evaluator],
            load_from=source,
            **changes,
        )
    )


def test_another_order_becomes_that_of_the_checkpoint_everywhere(tmp_path):
    cfg = config(checkpoint(tmp_path), TURNED)
    follow_checkpoint(cfg)
    assert [part.classes for part in cfg.train_dataloader.dataset.datasets] == [NAMES, NAMES]
    assert cfg.val_dataloader.dataset.classes == cfg.test_dataloader.dataset.classes == NAMES
    assert cfg.val_evaluator.classes == cfg.test_evaluator[0].classes == NAMES


def test_the_order_of_the_annotation_file_counts_where_the_config_names_no_class(tmp_path):
    cfg = config(checkpoint(tmp_path))
    cfg.test_dataloader.dataset.ann_file = ann_file(tmp_path, TURNED)
    assert configured_classes(cfg.test_dataloader.dataset) == tuple(TURNED)
    follow_checkpoint(cfg)
    assert cfg.test_dataloader.dataset.classes == NAMES
    assert cfg.train_dataloader.dataset.datasets[0].classes is None  # there is no file


def test_the_classes_of_a_dataset_class_count(tmp_path):
    from mmdet.datasets import IMAGENET_VID_CLASSES

    dataset = dict(type='ImagenetVIDDataset')
    assert configured_classes(dataset) == IMAGENET_VID_CLASSES
    assert configured_classes(dict(dataset, classes=NAMES)) == tuple(NAMES)


@pytest.mark.parametrize('resume', [True, False])
def test_other_names_of_the_same_number_are_refused_with_both_lists(tmp_path, resume):
    cfg = config(checkpoint(tmp_path), OTHER, resume=resume)
    told = r"trained on other classes.*'cat', 'dog', 'fox'; the config has 'cat', 'dog', 'car'"
    with pytest.raises(CheckpointError, match=told):
        follow_checkpoint(cfg)
    cfg.allow_partial = True
    follow_checkpoint(cfg)
    assert cfg.test_dataloader.dataset.classes == OTHER


@pytest.mark.parametrize('names', [NAMES, None, ['a', 'b']])
def test_nothing_changes_where_there_is_nothing_to_compare(tmp_path, names):
    """The same list, a checkpoint without names, or one of another number (a new head)."""
    cfg = config(checkpoint(tmp_path, names), NAMES)
    before = cfg.to_dict()
    follow_checkpoint(cfg)
    assert cfg.to_dict() == before
    follow_checkpoint(config(None, NAMES))


def test_a_results_file_goes_by_name(tmp_path):
    found = DetectionArrays.from_rows(
        np.array([0, 0, 1]), np.array([0, 2, 1]), np.arange(15, dtype=np.float32).reshape(3, 5)
    )
    path = tmp_path / 'r.pkl'
    write_pkl(path, found, 2, 3, NAMES)
    same = read_pkl(path, 2, 3, NAMES)
    assert same.label.tolist() == [0, 2, 1] and np.array_equal(same.boxes, found.boxes)
    turned = read_pkl(path, 2, 3, TURNED)
    assert turned.image.tolist() == [0, 0, 1] and turned.label.tolist() == [0, 2, 1]
    assert turned.score.tolist() == [9, 4, 14]  # cat (4) is the last class now, fox (9) the first
    with pytest.raises(EvaluationError, match=r"r\.pkl are of other classes.*'fox'.*'car'"):
        read_pkl(path, 2, 3, OTHER)
    with open(path, 'rb') as file:  # what other programs see is the list alone
        lists = pickle.load(file)
    assert [[len(rows) for rows in image] for image in lists] == [[1, 0, 1], [0, 1, 0]]
    write_pkl(path, found, 2, 3)  # a file of 1.x names no class
    assert read_pkl(path, 2, 3, TURNED).label.tolist() == [0, 2, 1]
