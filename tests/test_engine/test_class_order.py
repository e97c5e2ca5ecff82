"""A checkpoint knows its classes: a run takes their order, and refuses other names."""

import json
import pickle

import numpy as np
import pytest
import torch
from mmengine import Config

from mmdet.core.errors import CheckpointError, EvaluationError
from mmdet.engine.class_order import follow_checkpoint
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


def test_another_order_becomes_that_of_the_checkpoint_everywhere(config, tmp_path):
    cfg = config(TURNED)
    follow_checkpoint(cfg)
    assert [part.classes for part in cfg.train_dataloader.dataset.datasets] == [NAMES, NAMES]
    assert cfg.val_dataloader.dataset.classes == cfg.test_dataloader.dataset.classes == NAMES
    assert cfg.val_evaluator.classes == cfg.test_evaluator[0].classes == NAMES
    cfg = config()  # the classes are those of the annotation file
    categories = [{'id': i, 'name': name} for i, name in enumerate(TURNED, 1)]
    content = {'images': [], 'annotations': [], 'categories': categories}
    (tmp_path / 'ann.json').write_text(json.dumps(content))
    cfg.test_dataloader.dataset.ann_file = str(tmp_path / 'ann.json')
    follow_checkpoint(cfg)
    assert cfg.test_dataloader.dataset.classes == NAMES
    assert cfg.train_dataloader.dataset.datasets[0].classes is None  # there is no file


def test_other_names_of_the_same_number_are_refused_with_both_lists(config):
    cfg = config(OTHER)
    with pytest.raises(CheckpointError, match=r"trained on other classes.*'fox'.*'car'"):
        follow_checkpoint(cfg)
    cfg.allow_partial = True
    follow_checkpoint(cfg)
    assert cfg.test_dataloader.dataset.classes == OTHER


def test_a_results_file_goes_by_name(tmp_path):
    rows = np.arange(15, dtype=np.float32).reshape(3, 5)
    found = DetectionArrays.from_rows(np.array([0, 0, 1]), np.array([0, 2, 1]), rows)
    path = tmp_path / 'r.pkl'
    write_pkl(path, found, 2, 3, NAMES)
    turned = read_pkl(path, 2, 3, TURNED)
    assert turned.image.tolist() == [0, 0, 1] and turned.label.tolist() == [0, 2, 1]
    assert turned.score.tolist() == [9, 4, 14]  # cat (4) is the last class now, fox (9) the first
    with pytest.raises(EvaluationError, match=r"r\.pkl are of other classes.*'fox'.*'car'"):
        read_pkl(path, 2, 3, OTHER)
    lists = pickle.loads(path.read_bytes())  # what other programs see is the list alone
    assert [[len(rows) for rows in image] for image in lists] == [[1, 0, 1], [0, 1, 0]]
