"""Compiling backbone and neck: the same numbers and names, in training and testing.

With the backend `eager`, which traces and compiles nothing: the real one takes half a minute.
"""

import sys

import pytest
import torch
from toy_runs import CONFIG, ONE_EPOCH, train

from mmdet import apis
from mmdet.core.errors import ConfigError
from mmdet.engine import runner as runner_module
from mmdet.engine.compile import compile_static_parts


@pytest.fixture
def pair(repo, monkeypatch):
    """A detector, the same compiled, and a clip."""
    monkeypatch.syspath_prepend(str(repo / 'tests/test_models'))
    import tiny_detector

    plain, compiled = tiny_detector.tiny_detector('fpn'), tiny_detector.tiny_detector('fpn')
    video = torch.nn.Module()
    video.detector = compiled
    compile_static_parts(video, {'backend': 'eager'})
    yield plain, compiled, tiny_detector.random_clip()
    sys.modules.pop('tiny_detector')


def test_detections_gradients_and_names_stay(pair):
    plain, compiled, clip = pair
    assert list(compiled.state_dict()) == list(plain.state_dict())
    for part in (compiled.backbone, compiled.neck):
        assert hasattr(part.forward, '_torchdynamo_orig_callable')
    ours, theirs = (m.step(clip, m.init_state(clip.key.video_id))[0] for m in (compiled, plain))
    assert len(ours) > 0 and torch.equal(ours.boxes, theirs.boxes)
    assert torch.equal(ours.scores, theirs.scores)
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for model in (plain, compiled):
        levels = model.train().neck(model.backbone(images))
        sum(level.square().mean() for level in levels).backward()
    assert sum(p.grad is not None for p in plain.parameters()) > 10
    for ours, theirs in zip(compiled.parameters(), plain.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None)
        assert ours.grad is None or torch.equal(ours.grad, theirs.grad)


def test_what_cannot_be_compiled_is_refused(pair, tmp_path):
    with pytest.raises(ConfigError, match=r"unknown key 'bakend'.*mean 'backend'"):
        compile_static_parts(pair[0], {'bakend': 'eager'})
    with pytest.raises(ConfigError, match='ToyDetector has neither'):
        train(tmp_path, compile=True)


@pytest.mark.parametrize(
    ('options', 'flag', 'training', 'testing'),
    [
        ({}, True, [True], []),
        ({'compile': False}, False, [], []),
        ({'compile': dict(mode='default')}, False, [{'mode': 'default'}], [{'mode': 'default'}]),
    ],
)
def test_training_and_testing_do_what_the_config_says(
    tmp_path, monkeypatch, options, flag, training, testing
):
    calls = []
    monkeypatch.setattr(runner_module, 'compile_static_parts', lambda model, how: calls.append(how))
    options = {**ONE_EPOCH, **options}
    train(tmp_path, options, compile=flag, validate=False)
    assert calls == training
    calls.clear()
    checkpoint = str(tmp_path / 'epoch_1.pth')
    apis.test(CONFIG, checkpoint, work_dir=str(tmp_path), cfg_options=options)
    assert calls == testing
