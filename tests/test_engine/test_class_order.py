"""A checkpoint knows its classes: a run takes their order, and refuses other names."""

import json
import pickle

import numpy as np
import pytest
import torch
from mmengine import Config

from mmdet.core.class_names import labels_by_name
from mmdet.core.errors import CheckpointError, EvaluationError
from mmdet.datasets import IMAGENET_VID_CLASSES
from mmdet.engine.class_order import configured_classes, follow_checkpoint
from mmdet.evaluation.results import DetectionArrays, read_pkl, write_pkl

NAMES, TURNED, OTHER = ['cat', 'dog', 'fox'], ['fox', 'dog', 'cat'], ['cat', 'dog', 'car']


@pytest.fixture
def config(tmp_path):
    """Training on two joined sets, validation and a test with evaluators, from a checkpoint."""

    def build(classes=None, names=NAMES, **changes) -> Config:
        meta = {} if names is None else {'CLASSES': names}
        torch.save({'meta': meta, 'state_dict': {'w': torch.zeros(1)}}, tmp_path / 'c.pth')
        leaf = dict(type='CocoVideoDataset', ann_file='no.json', classes=classes)
        joined = dict(type='ConcatDataset', datasets=[dict(leaf), dict(leaf)])
        cfg = dict(train_dataloader=dict(dataset=joined), load_from=str(tmp_path / 'c.pth'))
        cfg |= {key: dict(dataset=leaf) for key in ('val_dataloader', 'test_dataloader')}
        evaluator = dict(type='VideoDetectionMetric', classes=classes)
        return Config(cfg | dict(val_evaluator=evaluator, test_evaluator=[evaluator]) | changes)

    return build


def test_another_order_becomes_that_of_the_checkpoint_everywhere(config):
    cfg = config(TURNED)
    follow_checkpoint(cfg)
    assert [part.classes for part in cfg.train_dataloader.dataset.datasets] == [NAMES, NAMES]
    assert cfg.val_dataloader.dataset.classes == cfg.test_dataloader.dataset.classes == NAMES
    assert cfg.val_evaluator.classes == cfg.test_evaluator[0].classes == NAMES


def test_the_classes_of_a_data_set_are_its_own_its_class_s_or_those_of_its_file(config, tmp_path):
    dataset = dict(type='ImagenetVIDDataset')
    assert configured_classes(dataset) == IMAGENET_VID_CLASSES
    assert configured_classes(dict(dataset, classes=NAMES)) == tuple(NAMES)
    categories = [{'id': i, 'name': name} for i, name in enumerate(TURNED, 1)]
    content = {'images': [], 'annotations': [], 'categories': categories}
    (tmp_path / 'ann.json').write_text(json.dumps(content))
    cfg = config()
    cfg.test_dataloader.dataset.ann_file = str(tmp_path / 'ann.json')
    assert configured_classes(cfg.test_dataloader.dataset) == tuple(TURNED)
    follow_checkpoint(cfg)
    assert cfg.test_dataloader.dataset.classes == NAMES
    assert cfg.train_dataloader.dataset.datasets[0].classes is None  # there is no file


@pytest.mark.parametrize('resume', [True, False])
def test_other_names_of_the_same_number_are_refused_with_both_lists(config, resume):
    cfg = config(OTHER, resume=resume)
    told = r"trained on other classes.*'cat', 'dog', 'fox'; the config has 'cat', 'dog', 'car'\. "
    told += r"Only The checkpoint has 'fox'\. Only the config has 'car'\."
    with pytest.raises(CheckpointError, match=told):
        follow_checkpoint(cfg)
    cfg.allow_partial = True
    follow_checkpoint(cfg)
    assert cfg.test_dataloader.dataset.classes == OTHER


@pytest.mark.parametrize('names', [NAMES, None, ['a', 'b']])
def test_nothing_changes_where_there_is_nothing_to_compare(config, names):
    """The same list, a checkpoint without names, or one of another number (a new head)."""
    assert labels_by_name(['a', 'a'], ['a', 'a']) is labels_by_name(['a', 'b'], ['a', 'a']) is None
    for cfg in (config(NAMES, names), config(TURNED, names, load_from=None)):
        before = cfg.to_dict()
        follow_checkpoint(cfg)
        assert cfg.to_dict() == before


def test_a_results_file_goes_by_name(tmp_path):
    rows = np.arange(15, dtype=np.float32).reshape(3, 5)
    found = DetectionArrays.from_rows(np.array([0, 0, 1]), np.array([0, 2, 1]), rows)
    path = tmp_path / 'r.pkl'
    write_pkl(path, found, 2, 3, NAMES)
    assert read_pkl(path, 2, 3, NAMES).score.tolist() == [4, 9, 14]
    turned = read_pkl(path, 2, 3, TURNED)
    assert turned.image.tolist() == [0, 0, 1] and turned.label.tolist() == [0, 2, 1]
    assert turned.score.tolist() == [9, 4, 14]  # cat (4) is the last class now, fox (9) the first
    with pytest.raises(EvaluationError, match=r"r\.pkl are of other classes.*'fox'.*'car'"):
        read_pkl(path, 2, 3, OTHER)
    with open(path, 'rb') as file:  # what other programs see is the list alone
        lists = pickle.load(file)
    assert [[len(rows) for rows in image] for image in lists] == [[1, 0, 1], [0, 1, 0]]
    write_pkl(path, found, 2, 3)  # a file of 1.x names no class
    assert read_pkl(path, 2, 3, TURNED).score.tolist() == [4, 9, 14]
