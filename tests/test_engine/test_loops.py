"""The loops: losses that explode, one state per video, what is printed and saved when."""

import json
import pickle
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from engine_toy import ToyMetric
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from toy_runs import CONFIG, ONE_EPOCH, log_of, train

from mmdet import apis
from mmdet.core.errors import ConfigError, NonFiniteLossError
from mmdet.registry import DATASETS, MODELS


def metrics_of(trained, work_dir, cfg_options=None, **kwargs):
    """The metrics of the last checkpoint."""
    checkpoint = str(trained[0] / 'epoch_2.pth')
    options = dict(work_dir=str(work_dir), cfg_options=cfg_options, **kwargs)
    return apis.test(CONFIG, checkpoint, **options)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('trained')
    return work_dir, train(work_dir)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    with pytest.raises(NonFiniteLossError) as caught:
        train(tmp_path, {'model.explode_at': 9})
    text = str(caught.value)
    assert 'iteration 9 (epoch 2)' in text and 'loss_toy nan' in text and '.jpg' in text
    assert sorted(p.name for p in tmp_path.glob('*.pth')) == ['epoch_1.pth', 'latest.pth']


def test_the_log_tells_the_rule_of_the_learning_rate_and_the_seed(trained):
    log = log_of(trained[0])
    assert 'seed 3' in log and 'CPU' in log and '1 process(es)' in log
    assert 'Learning rate 0.05 (as configured; --auto-scale-lr would multiply it by batch/8)' in log
    assert '= batch 2; 2 epochs of 7 iterations' in log


def test_auto_scale_lr(tmp_path):
    runner = train(tmp_path, ONE_EPOCH, auto_scale_lr=True, validate=False)
    assert runner.optim_wrapper.param_groups[0]['initial_lr'] == pytest.approx(0.05 * 2 / 8)
    assert 'scaled by 2/8' in log_of(tmp_path)


def test_a_line_per_step_has_what_one_looks_for(trained):
    line = next(ln for ln in log_of(trained[0]).splitlines() if 'Epoch(train) [1][7/7]' in ln)
    for word in ('lr:', 'eta:', 'time:', 'data_time:', 'loss:', 'loss_toy:', 'memory:'):
        assert word in line


def test_curves_are_json_lines(trained):
    path = next(trained[0].rglob('scalars.json'))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    steps = [row for row in rows if 'loss' in row]
    assert [row['step'] for row in steps] == [1, 7, 14]
    assert {'lr', 'loss', 'time', 'memory', 'epoch'} <= steps[0].keys()
    assert [row['step'] for row in rows if 'toy/score' in row] == [1, 2]


def test_checkpoints_hold_plain_values_and_the_classes(trained):
    path = trained[0] / 'epoch_2.pth'
    checkpoint = torch.load(path, weights_only=True)
    meta = checkpoint['meta']
    assert meta['CLASSES'] == ['cat', 'dog'] and meta['epoch'] == 2 and meta['iter'] == 14
    assert meta['seed'] == 3 and meta['world_size'] == 1 and meta['iters_per_epoch'] == 7
    assert len(checkpoint['rng']) == 1
    assert (trained[0] / 'latest.pth').resolve() == path.resolve()

    def check(node):
        assert type(node) in (dict, list, str, int, float, bool, type(None), torch.Tensor)
        children = node.values() if isinstance(node, dict) else node
        if isinstance(node, (dict, list)):
            for child in children:
                check(child)

    check(checkpoint)


def test_the_newest_and_the_best_checkpoints_are_kept(tmp_path):
    options = {
        'train_cfg.max_epochs': 4,
        'default_hooks.checkpoint.max_keep_ckpts': 2,
        'default_hooks.checkpoint.save_best': 'toy/score',
    }
    runner = train(tmp_path, options)
    names = sorted(p.name for p in tmp_path.glob('*.pth'))
    assert names == ['best_toy_score.pth', 'epoch_3.pth', 'epoch_4.pth', 'latest.pth']
    rows = [json.loads(ln) for ln in next(tmp_path.rglob('scalars.json')).read_text().splitlines()]
    scores = [row['toy/score'] for row in rows if 'toy/score' in row]
    best = torch.load(tmp_path / 'best_toy_score.pth', weights_only=True)
    assert best['meta']['toy/score'] == pytest.approx(max(scores))
    assert best['meta']['epoch'] == 1 + scores.index(max(scores))
    assert runner.message_hub.get_info('best_score') == pytest.approx(max(scores))


def test_a_resumed_run_knows_a_best_score_newer_than_its_checkpoint(tmp_path):
    options = {'train_cfg.max_epochs': 1, 'default_hooks.checkpoint.save_best': 'toy/score'}
    options['test_evaluator.scale'] = options['val_evaluator.scale'] = 5.0
    train(tmp_path, options)
    best = (tmp_path / 'best_toy_score.pth').read_bytes()
    options.update({'train_cfg.max_epochs': 2, 'val_evaluator.scale': 1.0})
    train(tmp_path, options, resume='auto')
    assert (tmp_path / 'best_toy_score.pth').read_bytes() == best


def test_save_best_of_an_unknown_metric_lists_the_known(tmp_path):
    with pytest.raises(KeyError, match='Known: toy/score'):
        train(tmp_path, {'default_hooks.checkpoint.save_best': 'mAP'})


@pytest.mark.parametrize('causal', [False, True])
def test_every_data_set_takes_the_models_plan_of_its_mode(tmp_path, monkeypatch, causal):
    toy, clips, used = MODELS.get('ToyDetector'), DATASETS.get('ToyClips'), []
    monkeypatch.setattr(clips, 'ref_img_sampler', dict(frame_range=3), raising=False)
    monkeypatch.setattr(clips, 'use_plan', lambda self, plan: used.append(plan), raising=False)
    monkeypatch.setattr(toy, 'plan', lambda self, mode, sampler: (mode, sampler), raising=False)
    train(tmp_path, ONE_EPOCH)
    assert used == [('train', dict(frame_range=3)), ('offline', dict(frame_range=3))]
    used.clear()
    checkpoint, options = str(tmp_path / 'epoch_1.pth'), {'test_cfg.causal': causal}
    apis.test(CONFIG, checkpoint, work_dir=str(tmp_path), cfg_options=options)
    assert used == [('causal' if causal else 'offline', dict(frame_range=3))]


def test_one_state_per_video_whatever_the_batch(trained, tmp_path):
    """The toy model asserts that a state sees the frames of its video in order."""
    results = []
    for batch_size in (1, 3, 5):
        out = tmp_path / f'{batch_size}.pkl'
        options = {'test_dataloader.batch_size': batch_size}
        metrics_of(trained, tmp_path, options, out=str(out))
        results.append(pickle.loads(out.read_bytes()))
    for other in results[1:]:
        for one_image, other_image in zip(results[0], other, strict=True):
            for one, two in zip(one_image, other_image, strict=True):
                np.testing.assert_array_equal(one, two)


def test_results_equal_a_literal_loop(trained, tmp_path):
    out = tmp_path / 'r.pkl'
    metrics_of(trained, tmp_path, out=str(out), evaluate=True)
    model = apis.init_detector(CONFIG, str(trained[0] / 'epoch_2.pth'), device='cpu')
    data = DATASETS.build(dict(type='ToyClips', test_mode=True))
    expected, state = [], None
    for index in range(len(data)):
        clip = data[index]
        if clip.key.frame_id == 0:
            state = model.init_state(clip.key.video_id, seed=0)
        expected.append(model.step_batch([clip], [state])[0].per_class(2))
    for one, two in zip(expected, pickle.loads(out.read_bytes()), strict=True):
        for a, b in zip(one, two, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_test_leaves_the_config_of_the_training_alone(trained, tmp_path):
    before = (trained[0] / 'toy_config.py').read_text()
    assert 'seed=3' in before and 'max_epochs=2' in before
    metrics_of(trained, trained[0], evaluate=True)
    assert (trained[0] / 'toy_config.py').read_text() == before
    assert len(list(trained[0].rglob('scalars.json'))) == 1  # curves are of the training only


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        ({'model.num_classes': 5}, r'`model\.num_classes` is 5.*2 classes'),
        (
            {
                'param_scheduler': [
                    dict(type='CosineAnnealingLR', by_epoch=False, begin=5000, T_max=9)
                ]
            },
            r'does not fit a run of \d+ iterations \(2 epochs\)',
        ),
        (
            {'train_cfg': dict(_delete_=True, by_epoch=False, max_iters=10)},
            "type='VideoTrainLoop'",
        ),
    ],
)
def test_what_cannot_be_trained_is_said_before_any_step(tmp_path, options, said):
    with pytest.raises(ConfigError, match=said):
        train(tmp_path, options)
    assert not list(tmp_path.glob('*.pth'))


@pytest.mark.parametrize('more', [{}, {'by_epoch': True}])
def test_mmengines_way_to_name_the_loop_works(tmp_path, more):
    assert train(tmp_path, {'train_cfg': dict(_delete_=True, max_epochs=1, **more)}).epoch == 1


def test_without_tensorboard_one_sentence_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr('mmdet.engine.runner._has_tensorboard', lambda: False)
    train(tmp_path, ONE_EPOCH, validate=False)
    assert log_of(tmp_path).count('pip install tensorboard') == 1


def test_a_hook_of_ones_own_sees_the_clips(tmp_path):
    seen = []

    class Spy(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            seen.append((batch_idx, len(data_batch), set(outputs)))

    HOOKS.register_module(name='SpyOfClips', module=Spy, force=True)
    train(tmp_path, {'train_cfg.max_epochs': 1, 'custom_hooks': [dict(type='SpyOfClips')]})
    assert seen == [(i, 2, {'loss', 'loss_toy'}) for i in range(7)]


def test_init_detector_takes_the_classes_of_the_checkpoint(trained):
    model = apis.init_detector(CONFIG, trained[0] / 'epoch_2.pth', device='cpu')
    assert model.classes == ('cat', 'dog') and not model.training
    expected = torch.load(trained[0] / 'epoch_2.pth', weights_only=True)['state_dict']
    assert all(torch.equal(v, expected[k]) for k, v in model.state_dict().items())
    fresh = apis.init_detector(CONFIG, device='cpu')
    assert type(fresh) is MODELS.get('ToyDetector')


def test_weights_are_loaded_before_training(trained, tmp_path):
    source = str(trained[0] / 'epoch_2.pth')
    options = {'train_cfg.max_epochs': 1, 'optim_wrapper.optimizer.lr': 0.0, 'load_from': source}
    runner = train(tmp_path, options, validate=False)
    expected = torch.load(source, weights_only=True)['state_dict']
    for name, value in runner.model.named_parameters():
        assert torch.equal(value, expected[name])


def test_histories_of_losses_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr('mmdet.engine.hooks.HISTORY', 3)
    runner = train(tmp_path, {'default_hooks.logger.interval': 1}, validate=False)
    lengths = {len(h.data[0]) for h in runner.message_hub.log_scalars.values()}
    assert lengths == {3}


def test_a_test_opens_the_group_of_its_results_before_the_first_frame(
    trained, tmp_path, monkeypatch
):
    """Opening waits for all ranks, which are together only at the start."""
    events = []

    @contextmanager
    def spy(timeout_s):
        events.append(('open', timeout_s))
        yield 'the group'
        events.append('closed')

    original = ToyMetric.process

    def process(self, data_batch, data_samples):
        events.append(('frame', self.group))
        original(self, data_batch, data_samples)

    monkeypatch.setattr('mmdet.engine.loops.cpu_group', spy)
    monkeypatch.setattr(ToyMetric, 'process', process)
    metrics_of(trained, tmp_path, {'env_cfg.dist_cfg.timeout': 9})
    assert events == [('open', 9), *[('frame', 'the group')] * 12, 'closed']
