"""The loops: losses that explode, one state per video, what is printed and saved when."""

import json
import multiprocessing
import pickle

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from toy_runs import CONFIG, ONE_EPOCH, log_of, train

from mmdet import apis
from mmdet.core.errors import ConfigError, NonFiniteLossError
from mmdet.engine.loops import VideoTestLoop
from mmdet.registry import DATASETS, MODELS


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """The work dir of a training."""
    work_dir = tmp_path_factory.mktemp('trained')
    train(work_dir)
    return work_dir


def metrics_of(trained, work_dir, cfg_options=None, **kwargs):
    """The metrics of the last checkpoint."""
    options = dict(work_dir=str(work_dir), cfg_options=cfg_options, **kwargs)
    return apis.test(CONFIG, str(trained / 'epoch_2.pth'), **options)


def curves_of(work_dir) -> list[dict]:
    return [json.loads(line) for line in next(work_dir.rglob('scalars.json')).open()]


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    said = r'iteration 9 \(epoch 2\).*loss_toy nan.*\.jpg'
    with pytest.raises(NonFiniteLossError, match=said):
        train(tmp_path, {'model.explode_at': 9})
    assert sorted(p.name for p in tmp_path.glob('*.pth')) == ['epoch_1.pth', 'latest.pth']


def test_no_data_worker_outlives_its_run(tmp_path, monkeypatch):
    others = set(multiprocessing.active_children())  # of earlier tests in this process
    workers = dict(num_workers=1, persistent_workers=True)
    loaders = ('train_dataloader', 'val_dataloader', 'test_dataloader')
    options = {f'{loader}.{key}': value for loader in loaders for key, value in workers.items()}
    runner = train(tmp_path, {**ONE_EPOCH, **options})
    assert runner.train_dataloader.persistent_workers
    assert set(multiprocessing.active_children()) <= others
    run, seen = VideoTestLoop.run, []
    monkeypatch.setattr(VideoTestLoop, 'run', lambda loop: seen.append(loop) or run(loop))
    apis.test(CONFIG, str(tmp_path / 'latest.pth'), work_dir=str(tmp_path), cfg_options=options)
    assert seen[0].dataloader.persistent_workers
    assert set(multiprocessing.active_children()) <= others


@pytest.mark.parametrize('causal', [False, True])
def test_every_data_set_takes_the_models_plan_of_its_mode(tmp_path, monkeypatch, causal):
    toy, clips, used = MODELS.get('ToyDetector'), DATASETS.get('ToyClips'), []
    monkeypatch.setattr(clips, 'ref_img_sampler', dict(frame_range=3), raising=False)
    monkeypatch.setattr(clips, 'use_plan', lambda self, plan: used.append(plan), raising=False)
    monkeypatch.setattr(toy, 'plan', lambda self, mode, sampler: (mode, sampler), raising=False)
    train(tmp_path, ONE_EPOCH)
    checkpoint, options = str(tmp_path / 'epoch_1.pth'), {'test_cfg.causal': causal}
    apis.test(CONFIG, checkpoint, work_dir=str(tmp_path), cfg_options=options)
    modes = ['train', 'offline', 'causal' if causal else 'offline']
    assert used == [(mode, dict(frame_range=3)) for mode in modes]


def test_the_log_and_the_curves_have_what_one_looks_for(trained):
    log = log_of(trained)
    rate = 'Learning rate 0.05 (as configured; --auto-scale-lr would multiply it by batch/8)'
    for text in ('seed 3', '1 process(es)', '= batch 2; 2 epochs of 7 iterations', rate):
        assert text in log
    line = next(line for line in log.splitlines() if 'Epoch(train) [1][7/7]' in line)
    for word in ('lr:', 'eta:', 'time:', 'data_time:', 'loss:', 'loss_toy:', 'memory:'):
        assert word in line
    rows = curves_of(trained)
    steps = [row for row in rows if 'loss' in row]
    assert [row['step'] for row in steps] == [1, 7, 14]
    assert {'lr', 'loss', 'loss_toy', 'grad_norm', 'time', 'data_time'} <= steps[0].keys()
    assert [row['step'] for row in rows if 'toy/score' in row] == [1, 2]


def test_checkpoints_hold_plain_values_and_the_classes(trained):
    checkpoint = torch.load(trained / 'epoch_2.pth', weights_only=True)
    expected = dict(CLASSES=['cat', 'dog'], epoch=2, iter=14, iters_per_epoch=7)
    expected |= dict(seed=3, world_size=1)
    assert {key: checkpoint['meta'][key] for key in expected} == expected
    assert (trained / 'latest.pth').resolve() == (trained / 'epoch_2.pth').resolve()


def test_the_newest_and_the_best_checkpoints_are_kept(tmp_path):
    keep = dict(max_keep_ckpts=2, save_best='toy/score')
    options = {f'default_hooks.checkpoint.{key}': value for key, value in keep.items()}
    train(tmp_path, {'train_cfg.max_epochs': 4, **options})
    names = sorted(p.name for p in tmp_path.glob('*.pth'))
    assert names == ['best_toy_score.pth', 'epoch_3.pth', 'epoch_4.pth', 'latest.pth']
    scores = [row['toy/score'] for row in curves_of(tmp_path) if 'toy/score' in row]
    meta = torch.load(tmp_path / 'best_toy_score.pth', weights_only=True)['meta']
    assert meta['toy/score'] == pytest.approx(max(scores))
    assert meta['epoch'] == 1 + scores.index(max(scores))


def test_a_resumed_run_knows_a_best_score_newer_than_its_checkpoint(tmp_path):
    options = {**ONE_EPOCH, 'default_hooks.checkpoint.save_best': 'toy/score'}
    train(tmp_path, {**options, 'val_evaluator.scale': 5.0})
    best = (tmp_path / 'best_toy_score.pth').read_bytes()
    train(tmp_path, {**options, 'train_cfg.max_epochs': 2}, resume='auto')
    assert (tmp_path / 'best_toy_score.pth').read_bytes() == best


@pytest.mark.parametrize('batch_size', [1, 3])
def test_results_equal_a_literal_loop_whatever_the_batch(trained, tmp_path, batch_size):
    """The toy model asserts that a state sees the frames of its video in order."""
    options, out = {'test_dataloader.batch_size': batch_size}, tmp_path / 'r.pkl'
    metrics_of(trained, tmp_path, options, out=str(out), evaluate=True)
    model = apis.init_detector(CONFIG, str(trained / 'epoch_2.pth'), device='cpu')
    expected, state = [], None
    for clip in DATASETS.build(dict(type='ToyClips', test_mode=True)):
        if clip.key.frame_id == 0:
            state = model.init_state(clip.key.video_id, seed=0)
        expected.append(model.step_batch([clip], [state])[0].per_class(2))
    for ours, theirs in zip(pickle.loads(out.read_bytes()), expected, strict=True):
        assert all(map(np.array_equal, ours, theirs))


LATE = dict(type='CosineAnnealingLR', by_epoch=False, begin=5000, T_max=9)


@pytest.mark.parametrize(
    ('options', 'error', 'said'),
    [
        ({'model.num_classes': 5}, ConfigError, r'`model\.num_classes` is 5.*2 classes'),
        ({'param_scheduler': [LATE]}, ConfigError, r'not fit a run of \d+ iterations \(2 epochs\)'),
        (
            {'train_cfg': dict(_delete_=True, by_epoch=False, max_iters=10)},
            *(ConfigError, "type='VideoTrainLoop'"),
        ),
        ({'train_dataloader.dataset.lengths': []}, ConfigError, 'gives no batch'),
        ({'default_hooks.checkpoint.interval': 0}, ValueError, 'interval=0. Legal: 1 or more'),
        ({'default_hooks.checkpoint.save_best': 'mAP'}, KeyError, 'Known: toy/score'),
    ],
)
def test_what_cannot_be_trained_is_said(tmp_path, options, error, said):
    with pytest.raises(error, match=said):
        train(tmp_path, options)
    assert error is KeyError or not list(tmp_path.glob('*.pth'))


def test_a_hook_of_ones_own_sees_the_clips_and_rates_scale_with_the_batch(tmp_path):
    seen = []

    class Spy(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            seen.append((batch_idx, len(data_batch), set(outputs)))

    HOOKS.register_module(name='SpyOfClips', module=Spy, force=True)
    options = {**ONE_EPOCH, 'custom_hooks': [dict(type='SpyOfClips')]}
    runner = train(tmp_path, options, auto_scale_lr=True, validate=False)
    assert seen == [(i, 2, {'loss', 'loss_toy'}) for i in range(7)]
    assert runner.optim_wrapper.param_groups[0]['initial_lr'] == pytest.approx(0.05 * 2 / 8)
    assert 'scaled by 2/8' in log_of(tmp_path)


def test_training_starts_from_the_weights_of_load_from(trained, tmp_path):
    source = trained / 'epoch_2.pth'
    expected = torch.load(source, weights_only=True)['state_dict']
    options = {**ONE_EPOCH, 'optim_wrapper.optimizer.lr': 0.0, 'load_from': str(source)}
    runner = train(tmp_path, options, validate=False)
    assert all(torch.equal(w, expected[name]) for name, w in runner.model.named_parameters())
