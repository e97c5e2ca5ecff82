"""Checkpoints: plain content, atomic writing, safe reading, errors that say what to do."""

import collections
import multiprocessing
import os
import pickle
import signal

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from torch import nn

from mmdet.core.checkpoint_file import load_checkpoint_file, state_dict_of
from mmdet.core.errors import CheckpointError
from mmdet.engine import checkpoint
from mmdet.engine.checkpoint import (
    bare,
    find_latest_valid,
    load_weights,
    plain,
    save_checkpoint,
)

PLAIN = (torch.Tensor, int, float, str, list, dict, type(None))


class Foreign:
    """A class that no allow-list knows."""


def all_values(node):
    yield node
    if isinstance(node, dict):
        for key, value in node.items():
            yield key
            yield from all_values(value)
    elif isinstance(node, list):
        for value in node:
            yield from all_values(value)


def test_plain_holds_plain_types_only():
    value = {
        'a': (1, 2.5, True, None, 'x'),
        'b': collections.OrderedDict(t=nn.Parameter(torch.ones(2))),
        'c': np.float32(3),
        'd': np.arange(3),
        4: {1, 2},
        'e': collections.deque([1]),
        'f': np.float64(2),  # a subclass of float
        'g': np.str_('x'),
        np.str_('h'): torch.__version__,
    }
    out = plain(value)
    assert all(type(v) in (*PLAIN, bool) for v in all_values(out))
    assert out['a'] == [1, 2.5, True, None, 'x'] and out['c'] == 3.0 and out[4] == [1, 2]
    assert torch.equal(out['b']['t'], torch.ones(2)) and not out['b']['t'].requires_grad
    assert torch.equal(out['d'], torch.arange(3))


def test_plain_names_the_place_of_what_it_cannot_hold():
    with pytest.raises(TypeError, match=r'checkpoint\.meta\.list\[1\]: it is a Foreign'):
        plain({'meta': {'list': [0, Foreign()]}})


def test_a_view_is_saved_without_its_base(tmp_path):
    save_checkpoint({'state_dict': {'w': torch.zeros(1_000_000)[:3]}}, tmp_path / 'a.pth')
    assert (tmp_path / 'a.pth').stat().st_size < 10_000


def test_round_trip_with_weights_only(tmp_path):
    path = tmp_path / 'a.pth'
    save_checkpoint({'state_dict': {'w': torch.arange(4.0)}, 'meta': {'epoch': 2}}, path)
    loaded = torch.load(path, weights_only=True)
    assert loaded['meta'] == {'epoch': 2} and torch.equal(
        loaded['state_dict']['w'], torch.arange(4.0)
    )
    assert torch.equal(load_checkpoint_file(path)['state_dict']['w'], torch.arange(4.0))


def _die_while_saving(path):
    def half(obj, file):
        file.write(b'x' * 1000)
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    torch.save = half
    save_checkpoint({'state_dict': {}}, path)


def test_a_kill_while_saving_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / 'a.pth'
    save_checkpoint({'state_dict': {'w': torch.ones(3)}}, path)
    before = path.read_bytes()
    child = multiprocessing.get_context('fork').Process(target=_die_while_saving, args=(path,))
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    assert path.read_bytes() == before
    assert list(tmp_path.glob('*.pth')) == [path]  # what is left behind is no checkpoint by name


@pytest.mark.parametrize('zipped', [True, False])
def test_foreign_objects_load_only_when_trusted(tmp_path, zipped):
    path = tmp_path / 'foreign.pth'
    value = {'state_dict': {'w': torch.ones(2)}, 'meta': Foreign()}
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r'Foreign.*--trust-checkpoint'):
        load_checkpoint_file(path)
    assert isinstance(load_checkpoint_file(path, trust=True)['meta'], Foreign)


class Exploit:
    def __reduce__(self):
        return (os.system, ('touch exploited',))


def test_code_in_a_file_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({'state_dict': {'w': torch.ones(1)}, 'x': Exploit()}, tmp_path / 'e.pth')
    with pytest.raises(CheckpointError, match='system'):
        load_checkpoint_file(tmp_path / 'e.pth')
    assert not (tmp_path / 'exploited').exists()


def test_containers_of_other_toolboxes_load_without_trust(tmp_path):
    buffer = HistoryBuffer([1.0], [1])
    meta = {
        'numpy': np.float64(2),
        'array': np.arange(3),
        'counter': collections.Counter('ab'),
        'config': ConfigDict(a=1),
    }
    value = {
        'meta': meta,
        'state_dict': collections.OrderedDict({'module.w': torch.ones(2)}),
        'message_hub': {'log_scalars': {'loss': buffer}},
    }
    torch.save(value, tmp_path / 'mm.pth')
    with pytest.raises(pickle.UnpicklingError):  # or this test would prove nothing
        torch.load(tmp_path / 'mm.pth', weights_only=True)
    loaded = load_checkpoint_file(tmp_path / 'mm.pth')
    assert loaded['meta']['numpy'] == 2 and loaded['meta']['config'] == {'a': 1}
    assert list(state_dict_of(loaded)) == ['w']


@pytest.mark.parametrize('keep', [0, 100, 4000, -10])
def test_a_truncated_file_is_named(tmp_path, keep):
    path = tmp_path / 'a.pth'
    torch.save({'state_dict': {'w': torch.ones(2000)}}, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r'a\.pth \(\d+ bytes\) is truncated'):
        load_checkpoint_file(path)


@pytest.mark.parametrize('junk', [b'abc' * 100, b'<html>not found</html>', bytes(500)])
def test_what_is_no_checkpoint_is_said(tmp_path, junk):
    (tmp_path / 'a.pth').write_bytes(junk)
    with pytest.raises(CheckpointError, match='not a PyTorch checkpoint'):
        load_checkpoint_file(tmp_path / 'a.pth')


def test_an_absent_file_names_its_neighbours(tmp_path):
    save_checkpoint({'state_dict': {}}, tmp_path / 'epoch_3.pth')
    with pytest.raises(CheckpointError, match=r'epoch_4\.pth.*epoch_3\.pth'):
        load_checkpoint_file(tmp_path / 'epoch_4.pth')


def test_a_file_without_weights_is_refused():
    with pytest.raises(CheckpointError, match=r'no weights.*Keys: meta'):
        state_dict_of({'meta': {}})


@pytest.mark.parametrize('key', ['state_dict', 'model', None])
def test_weights_are_found_in_every_container(key):
    weights = {'a': torch.ones(1), 'b': torch.zeros(1)}
    assert state_dict_of({key: weights} if key else weights) == weights


def test_load_weights_lists_what_does_not_fit():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 3))
    given = {'0.weight': torch.ones(2, 2), '1.weight': torch.ones(5, 2), 'x.y': torch.ones(1)}
    with pytest.raises(CheckpointError) as caught:
        load_weights(model, given)
    text = str(caught.value)
    assert '2 missing in the checkpoint: 0.bias, 1.bias' in text
    assert '1 unexpected in the checkpoint: x.y' in text
    assert '1.weight (checkpoint (5, 2), model (3, 2))' in text and '--allow-partial' in text
    report = load_weights(model, given, allow_partial=True)
    assert len(report) == 3 and torch.equal(model[0].weight, torch.ones(2, 2))


def test_the_list_of_names_is_bounded():
    given = {'0.weight': torch.ones(2, 2), **{f'extra.{i}': torch.ones(1) for i in range(1000)}}
    report = load_weights(nn.Sequential(nn.Linear(2, 2)), given, allow_partial=True)
    assert any('1000 unexpected' in line and 'and 988 more' in line for line in report)
    assert sum(map(len, report)) < 1000


def test_a_single_frame_model_goes_into_the_detector_of_a_video_model():
    single, video = nn.Linear(2, 2), nn.Module()
    video.detector, video.aggregator = nn.Linear(2, 2), nn.Linear(3, 3)
    untouched = video.aggregator.weight.clone()
    with pytest.raises(CheckpointError, match=r'2 missing in the checkpoint: aggregator\.w'):
        load_weights(video, single.state_dict())
    (report,) = load_weights(video, single.state_dict(), allow_partial=True)
    assert report == '2 missing in the checkpoint: aggregator.weight, aggregator.bias'
    assert torch.equal(video.detector.weight, single.weight)
    assert torch.equal(video.aggregator.weight, untouched)


def test_weights_of_another_model_are_never_accepted():
    with pytest.raises(CheckpointError, match='None of the 1 weights fits'):
        load_weights(nn.Linear(2, 2), {'other': torch.ones(1)}, allow_partial=True)


def resumable(path, saved_at, iteration):
    meta = {'epoch': 0, 'iter': iteration, 'saved_at': saved_at}
    save_checkpoint({'state_dict': {}, 'optimizer': {}, 'meta': meta}, path)


def test_find_latest_valid_goes_by_the_time_inside(tmp_path):
    resumable(tmp_path / 'epoch_2.pth', 200.0, 20)
    resumable(tmp_path / 'epoch_10.pth', 100.0, 100)  # of an earlier run in the same folder
    os.utime(tmp_path / 'epoch_10.pth', (9e9, 9e9))
    save_checkpoint({'state_dict': {}}, tmp_path / 'weights_only.pth')
    resumable(tmp_path / 'best_vid_AP50.pth', 300.0, 30)
    assert find_latest_valid(tmp_path) == tmp_path / 'epoch_2.pth'
    assert find_latest_valid(tmp_path / 'absent') is None


def test_find_latest_valid_skips_a_truncated_newest_file(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(checkpoint, 'print_log', lambda text, **kwargs: said.append(text))
    resumable(tmp_path / 'epoch_1.pth', 100.0, 10)
    resumable(tmp_path / 'epoch_2.pth', 200.0, 20)
    whole = (tmp_path / 'epoch_2.pth').read_bytes()
    (tmp_path / 'epoch_2.pth').write_bytes(whole[: len(whole) // 2])
    assert find_latest_valid(tmp_path) == tmp_path / 'epoch_1.pth'
    assert len(said) == 1 and 'epoch_2.pth' in said[0]


NESTED = ['_orig_mod.{}', 'module.{}', 'module._orig_mod.{}', '_orig_mod.module.{}']


@pytest.mark.parametrize('form', NESTED)
def test_names_of_wrapped_and_compiled_models_are_those_of_the_model(form):
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
    wrapped = {form.format(name): tensor for name, tensor in model.state_dict().items()}
    assert list(state_dict_of({'state_dict': wrapped})) == list(model.state_dict())
    part = {name.replace('1.', '1._orig_mod.'): t for name, t in model.state_dict().items()}
    assert list(state_dict_of(part)) == list(model.state_dict())  # one compiled part


def test_a_compiled_model_takes_and_gives_plain_names():
    model = torch.nn.Linear(2, 3)
    compiled = torch.compile(model)
    assert list(compiled.state_dict()) == ['_orig_mod.weight', '_orig_mod.bias']
    weights = {'weight': torch.ones(3, 2), 'bias': torch.zeros(3)}
    assert load_weights(compiled, weights) == []
    assert torch.equal(model.weight, torch.ones(3, 2)) and bare(compiled) is model


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_weights_that_are_not_finite_are_named(value):
    model = torch.nn.Linear(2, 3)
    weights = {'weight': torch.full((3, 2), value), 'bias': torch.zeros(3)}
    with pytest.raises(CheckpointError, match=r'1 with NaN or infinite numbers .*: weight'):
        load_weights(model, weights)
    assert '1 with NaN' in load_weights(model, weights, allow_partial=True)[0]
    assert model.weight.isfinite().all() and not model.bias.any()  # what is finite is loaded
