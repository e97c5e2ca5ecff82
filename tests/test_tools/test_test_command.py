"""The flags of tools/test.py, and what it writes."""

import pickle
import runpy
import sys

import cv2
import numpy as np
import pytest
import torch


@pytest.fixture(scope='module')
def command(repo):
    return runpy.run_path(str(repo / 'tools/test.py'))


@pytest.fixture(scope='module')
def toy(repo):
    return repo / 'tests/test_engine/toy_config.py'


@pytest.fixture(scope='module')
def checkpoint(toy, tmp_path_factory):
    """Random weights in the container of version 1, with names from data parallelism."""
    import engine_toy

    torch.manual_seed(0)
    weights = engine_toy.ToyDetector().state_dict()
    path = tmp_path_factory.mktemp('weights') / 'toy.pth'
    torch.save({'meta': {}, 'state_dict': {f'module.{k}': v for k, v in weights.items()}}, path)
    return path


@pytest.fixture(scope='module', autouse=True)
def importable(toy):
    sys.path.insert(0, str(toy.parent))
    yield
    sys.path.remove(str(toy.parent))


def run(command, monkeypatch, *argv):
    monkeypatch.setattr(sys, 'argv', ['test.py', *map(str, argv)])
    command['main']()


@pytest.mark.parametrize(
    'argv',
    [
        ['c.py', 'f.pth', '--eval', 'bbox'],
        ['c.py', '--checkpoint', 'f.pth', '--eval', 'bbox'],
        ['c.py', '--eval', 'bbox', '--checkpoint', 'f.pth'],
        ['c.py', 'f.pth', '--format-only'],
        ['c.py', 'f.pth', '--show-dir', 'd'],
        ['c.py', 'f.pth', '--out', 'r.pkl', '--launcher', 'mpi', '--fuse-conv-bn'],
    ],
)
def test_legal_commands(command, argv):
    assert command['parse_args'](argv).checkpoint == 'f.pth'


@pytest.mark.parametrize(
    ('argv', 'word'),
    [
        (['c.py', '--eval', 'bbox'], 'give one checkpoint'),
        (['c.py', 'f.pth', '--checkpoint', 'g.pth', '--eval', 'bbox'], 'give one checkpoint'),
        (['c.py', 'f.pth'], 'at least one of --out, --eval, --format-only, --show-dir'),
        (['c.py', 'f.pth', '--format-only', '--eval', 'bbox'], 'leave --eval away'),
        (['c.py', 'f.pth', '--out', 'r.json'], 'must end in .pkl'),
        (['c.py', 'f.pth', '--eval', 'segm'], 'bbox'),
        (['c.py', 'f.pth', '--eval', 'bbox', '--options', 'a=1', '--eval-options', 'b=1'], 'one'),
    ],
)
def test_illegal_commands(command, capsys, argv, word):
    with pytest.raises(SystemExit) as caught:
        command['parse_args'](argv)
    assert caught.value.code == 2 and word in capsys.readouterr().err


def test_results_are_written_with_options(command, monkeypatch, toy, checkpoint, tmp_path):
    out = tmp_path / 'r.pkl'
    run(
        *(command, monkeypatch, toy, checkpoint, '--out', out, '--eval', 'bbox'),
        *('--work-dir', tmp_path / 'w', '--eval-options', 'scale=2.0', '--fuse-conv-bn'),
        *('--cfg-options', 'test_dataloader.dataset.lengths=[2,2]'),
    )
    results = pickle.loads(out.read_bytes())
    assert len(results) == 4 and results[0][0].shape == (1, 5)
    log = next((tmp_path / 'w').rglob('*.log')).read_text()
    assert 'toy/score' in log


@pytest.mark.parametrize(
    ('argv', 'words'),
    [
        (['--cfg-options', 'model.width=8'], ['does not fit', '--allow-partial', 'conv1.weight']),
        (['--eval-options', 'scal=2'], ['no metric takes', "mean 'scale'"]),
        (['--cfg-options', 'model.num_classes=5'], ['model.num_classes', 'is 5', '2 classes']),
        (['--cfg-options', 'test_dataloader=None'], ['Cannot test', 'test_dataloader']),
    ],
)
def test_a_mistake_is_one_message(command, monkeypatch, toy, checkpoint, tmp_path, argv, words):
    with pytest.raises(SystemExit) as caught:
        run(command, monkeypatch, toy, checkpoint, '--eval', 'bbox', '--work-dir', tmp_path, *argv)
    for word in words:
        assert word in str(caught.value.code)


def test_partial_weights_can_be_allowed(command, monkeypatch, toy, checkpoint, tmp_path):
    run(
        *(command, monkeypatch, toy, checkpoint, '--eval', 'bbox', '--work-dir', tmp_path),
        *('--allow-partial', '--cfg-options', 'model.width=8'),
    )
    assert 'of another shape' in next(tmp_path.rglob('*.log')).read_text()


def test_frames_are_drawn_in_the_folders_of_the_data(tmp_path):
    """The hook alone: a frame, a box, and where the picture goes."""
    from types import SimpleNamespace

    from mmdet.core.errors import UndecodableFrameError
    from mmdet.engine.hooks import DrawDetectionsHook
    from mmdet.structures import Clip, Detections, Frame

    source = tmp_path / 'data/val/A/000000.png'
    source.parent.mkdir(parents=True)
    cv2.imwrite(str(source), np.zeros((60, 80, 3), np.uint8))
    dataset = SimpleNamespace(classes=('cat',), img_prefix=str(tmp_path / 'data'))
    runner = SimpleNamespace(
        test_dataloader=SimpleNamespace(dataset=dataset), logger=SimpleNamespace(info=print)
    )
    hook = DrawDetectionsHook(str(tmp_path / 'shown'), score_thr=0.5)
    hook.before_test(runner)
    found = Detections(
        torch.tensor([[10.0, 10.0, 50.0, 40.0]]), torch.tensor([0.9]), torch.tensor([0])
    )
    hook.after_test_iter(runner, 0, [Clip([Frame(path=str(source))])], [found])
    drawn = cv2.imread(str(tmp_path / 'shown/val/A/000000.png'))
    assert drawn.shape == (60, 80, 3) and drawn.any()
    # an annotation file may say anything
    before = set(tmp_path.rglob('*'))
    for path in (tmp_path / 'data/../x.png', tmp_path / 'data/val/../../../y.png'):
        cv2.imwrite(str(path), np.zeros((60, 80, 3), np.uint8))
        hook.after_test_iter(runner, 0, [Clip([Frame(path=str(path))])], [found])
    written = set(tmp_path.rglob('*')) - before - {tmp_path / 'x.png'}
    assert written == {tmp_path / 'shown/x.png', tmp_path / 'shown/y.png'}
    (tmp_path.parent / 'y.png').unlink()
    assert not cv2.imread(str(tmp_path / 'x.png')).any()
    source.write_bytes(b'gone')
    with pytest.raises(UndecodableFrameError, match=r'000000\.png'):
        hook.after_test_iter(runner, 0, [Clip([Frame(path=str(source))])], [found])
