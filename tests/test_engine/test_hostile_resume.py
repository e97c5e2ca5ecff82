"""Checkpoints with a wrong structure: refused in one sentence before anything is used, and none
of them deletes a file."""

import copy
import os
import time
from pathlib import Path

import engine_toy  # noqa: F401
import pytest
import torch

from mmdet.apis import train
from mmdet.core.checkpoint_file import load_checkpoint_file
from mmdet.core.errors import CheckpointError, VFEError
from mmdet.engine.checkpoint import load_weights, save_checkpoint

CONFIG = Path(__file__).parent / 'toy_config.py'
MARK = object()


def run(work_dir, resume, **options):
    options = {'train_dataloader.num_workers': 0, **options}
    return train(CONFIG, work_dir=str(work_dir), resume=str(resume), cfg_options=options, seed=3)


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
    """A checkpoint after the first epoch."""
    folder = tmp_path_factory.mktemp('saved')
    train(CONFIG, work_dir=str(folder), cfg_options={'train_cfg.max_epochs': 1}, seed=3)
    return load_checkpoint_file(folder / 'epoch_1.pth')


def changed(saved: dict, place: str, value: object) -> dict:
    copied = copy.deepcopy(saved)
    node = copied
    parts = place.split('.', 1 if place.startswith('state_dict') else -1)
    *parents, last = [int(part) if part.isdigit() else part for part in parts]
    for part in parents:
        node = node[part]
    if value is MARK:
        del node[last]
    else:
        node[last] = value
    return copied


WRONG = [
    ('meta', None), ('meta', []), ('meta', 3), ('meta', {}), ('meta', MARK), ('meta', 'epoch'),
    ('meta.epoch', None), ('meta.epoch', 10**9), ('meta.epoch', -1), ('meta.epoch', 1.5),
    ('meta.epoch', '1'), ('meta.epoch', MARK), ('meta.epoch', True), ('meta.epoch', 10**30),
    ('meta.iter', None), ('meta.iter', 10**9), ('meta.iter', -5), ('meta.iter', [6]),
    ('meta.iters_per_epoch', 0), ('meta.iters_per_epoch', 'six'), ('meta.iters_per_epoch', 10**9),
    ('meta.seed', 'x'), ('meta.seed', 1.5), ('meta.seed', 10**30), ('meta.saved_at', []),
    ('state_dict', None), ('state_dict', []), ('state_dict', {}), ('state_dict', {'a': 1}),
    ('state_dict.head.weight', torch.ones(1)), ('state_dict.head.weight', MARK),
    ('optimizer', None), ('optimizer', []), ('optimizer', MARK), ('optimizer', {}),
    ('optimizer.state', None), ('optimizer.state', []), ('optimizer.state', {0: None}),
    ('optimizer.state', {0: {'momentum_buffer': torch.ones(7)}}),
    ('optimizer.state', {99: {'momentum_buffer': torch.ones(7)}}),
    ('optimizer.state', {'x': {'momentum_buffer': torch.ones(7)}}),
    ('optimizer.param_groups', None), ('optimizer.param_groups', []),
    ('optimizer.param_groups', [None]), ('optimizer.param_groups', [{}]),
    ('optimizer.param_groups.0.params', [0]), ('optimizer.param_groups.0.params', None),
    ('message_hub', []), ('message_hub', None), ('message_hub.runtime_info', [1]),
    ('message_hub.runtime_info.kept_checkpoints', 'epoch_1.pth'),
    ('message_hub.runtime_info.kept_checkpoints', [None]),
    ('message_hub.runtime_info.kept_checkpoints', ['../../important.txt']),
    ('message_hub.runtime_info.kept_checkpoints', ['/etc/hostname']),
    ('message_hub.runtime_info.best_score', 'high'), ('message_hub.runtime_info.run_id', 7),
    ('rng', [None]), ('rng', 3), ('rng', [{}]), ('rng.0.torch', None), ('rng.0.python', []),
    ('rng.0.torch', torch.ones(3)), ('rng.0.torch', torch.ones(3, dtype=torch.uint8)),
    ('rng.0.python.words', torch.ones(3, dtype=torch.int64)), ('rng.0.python.version', 99),
    ('rng.0.python.words', torch.full((625,), -1)), ('rng.0.python.gauss', 'x'),
    ('rng.0.numpy.words', None), ('rng.0.numpy.position', 10**6), ('rng.0.numpy', MARK),
    ('param_schedulers', 3), ('param_schedulers', [None]),
]  # fmt: skip


@pytest.mark.parametrize('number', range(len(WRONG)))
def test_a_wrong_structure_is_refused(tmp_path, saved, number):
    place, value = WRONG[number]
    save_checkpoint(changed(saved, place, value), tmp_path / 'epoch_1.pth')
    start = time.monotonic()
    with pytest.raises(VFEError) as caught:
        run(tmp_path / 'work', tmp_path / 'epoch_1.pth')
    assert isinstance(caught.value, CheckpointError)
    assert time.monotonic() - start < 60  # not a speed: a position of 1e9 used to take for ever
    assert not list((tmp_path / 'work').glob('*.pth'))


def test_the_unchanged_file_resumes(tmp_path, saved):
    save_checkpoint(saved, tmp_path / 'epoch_1.pth')
    run(tmp_path / 'work', tmp_path / 'epoch_1.pth')
    assert (tmp_path / 'work/epoch_2.pth').is_file()


def test_auto_skips_what_cannot_be_resumed(tmp_path, saved):
    save_checkpoint(saved, tmp_path / 'epoch_1.pth')
    later = changed(saved, 'meta.saved_at', saved['meta']['saved_at'] + 9)
    save_checkpoint(changed(later, 'rng', [None]), tmp_path / 'epoch_9.pth')
    runner = run(tmp_path, 'auto')
    assert runner.epoch == 2 and runner.cfg.load_from == str(tmp_path / 'epoch_1.pth')


# -- what is deleted ------------------------------------------------------------------------------


def test_only_files_of_this_run_are_deleted(tmp_path, saved):
    kept = ['epoch_7.pth', 'epoch_8.pth', 'iter_3.pth', 'epoch_1.pth']
    mine = changed(saved, 'message_hub.runtime_info.kept_checkpoints', kept)
    work = tmp_path / 'work'
    work.mkdir()
    save_checkpoint(mine, work / 'epoch_1.pth')
    (work / 'epoch_7.pth').write_text('of somebody else')
    stranger = changed(saved, 'message_hub.runtime_info.run_id', '0123456789abcdef')
    save_checkpoint(stranger, work / 'epoch_8.pth')
    (tmp_path / 'elsewhere.pth').write_bytes((work / 'epoch_1.pth').read_bytes())
    os.symlink(tmp_path / 'elsewhere.pth', work / 'iter_3.pth')
    run(work, work / 'epoch_1.pth', **{'default_hooks.checkpoint.max_keep_ckpts': 1})
    assert (work / 'epoch_7.pth').read_text() == 'of somebody else'
    assert (work / 'epoch_8.pth').is_file() and (work / 'iter_3.pth').is_symlink()
    assert (tmp_path / 'elsewhere.pth').is_file()
    assert not (work / 'epoch_1.pth').exists() and (work / 'epoch_2.pth').is_file()


# -- weights that are no numbers -------------------------------------------------------------------


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_weights_that_are_not_finite_are_refused(value):
    model = torch.nn.Linear(2, 2)
    weights = {'weight': torch.tensor([[1.0, value], [0, 0]]), 'bias': torch.zeros(2)}
    with pytest.raises(CheckpointError, match=r'1 with NaN or infinite numbers .*: weight'):
        load_weights(model, weights)
    assert torch.isfinite(model.weight).all()
