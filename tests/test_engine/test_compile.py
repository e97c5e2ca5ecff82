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
def tiny(repo, monkeypatch):
    monkeypatch.syspath_prepend(str(repo / 'tests/test_models'))
    import tiny_detector

    yield tiny_detector
    sys.modules.pop('tiny_detector')


def detected(model, clip):
    return model.step(clip, model.init_state(clip.key.video_id))[0]


def test_detections_losses_and_names_stay(tiny):
    plain, compiled = (tiny.tiny_detector('fpn') for _ in range(2))
    compile_static_parts(compiled, {'backend': 'eager'})
    assert list(compiled.state_dict()) == list(plain.state_dict())
    for part in (compiled.backbone, compiled.neck):
        assert hasattr(part.forward, '_torchdynamo_orig_callable')
    clip = tiny.random_clip()
    ours, theirs = detected(compiled, clip), detected(plain, clip)
    assert len(ours) > 0 and torch.equal(ours.boxes, theirs.boxes)
    assert torch.equal(ours.scores, theirs.scores)


def test_gradients_pass_through(tiny):
    plain, compiled = (tiny.tiny_detector('dc5').train() for _ in range(2))
    compile_static_parts(compiled, {'backend': 'eager'})
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for model in (plain, compiled):
        sum(level.square().mean() for level in model.neck(model.backbone(images))).backward()
    gradients = [p.grad for p in plain.parameters() if p.grad is not None]
    assert len(gradients) > 10
    for ours, theirs in zip(compiled.parameters(), plain.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None)
        assert ours.grad is None or torch.equal(ours.grad, theirs.grad)


def test_the_detector_of_a_video_model_is_compiled(tiny):
    model = torch.nn.Module()
    model.detector = tiny.tiny_detector('dc5')
    compile_static_parts(model, {'backend': 'eager'})
    assert hasattr(model.detector.backbone.forward, '_torchdynamo_orig_callable')


def test_what_cannot_be_compiled_is_refused(tiny, tmp_path):
    with pytest.raises(ConfigError, match=r"unknown key 'bakend'.*mean 'backend'"):
        compile_static_parts(tiny.tiny_detector('dc5'), {'bakend': 'eager'})
    with pytest.raises(ConfigError, match='ToyDetector has neither'):
        train(tmp_path, compile=True)


@pytest.mark.parametrize(
    ('options', 'flag', 'training', 'testing'),
    [
        ({}, False, [], []),
        ({}, True, [True], []),
        ({'compile': True}, False, [True], [True]),
        ({'compile': False}, False, [], []),
        ({'compile': dict(mode='default')}, True, [{'mode': 'default'}], [{'mode': 'default'}]),
    ],
)
def test_training_and_testing_do_what_the_config_says(
    tmp_path, monkeypatch, options, flag, training, testing
):
    calls = []
    monkeypatch.setattr(
        runner_module, 'compile_static_parts', lambda model, options: calls.append(options)
    )
    options = {**ONE_EPOCH, **options}
    train(tmp_path, options, compile=flag, validate=False)
    assert calls == training
    calls.clear()
    checkpoint = str(tmp_path / 'epoch_1.pth')
    apis.test(CONFIG, checkpoint, work_dir=str(tmp_path), cfg_options=options)
    assert calls == testing
