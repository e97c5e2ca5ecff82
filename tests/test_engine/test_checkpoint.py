"""Checkpoints: plain content, atomic writing, safe reading, errors that say what to do."""

import collections
import os
import pickle

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from torch import nn

from mmdet.core.checkpoint_file import load_checkpoint_file, state_dict_of
from mmdet.core.errors import CheckpointError
from mmdet.engine.checkpoint import find_latest_valid, load_weights, plain, save_checkpoint


class Foreign:
    """A class that no allow-list knows."""


class Exploit:
    def __reduce__(self):
        return (os.system, ('touch exploited',))


def test_plain_holds_plain_types_only(tmp_path):
    value = {
        'a': (1, 2.5, True, None, 'x'),
        'b': collections.OrderedDict(t=nn.Parameter(torch.ones(2))),
        'c': [np.float32(3), np.arange(3), {1, 2}, torch.__version__],
        np.str_('d'): collections.deque([np.float64(2), np.str_('x')]),
        'view': torch.zeros(1_000_000)[:3],  # which is saved without its base
    }
    save_checkpoint(value, tmp_path / 'a.pth')
    assert (tmp_path / 'a.pth').stat().st_size < 10_000
    out = torch.load(tmp_path / 'a.pth', weights_only=True)
    assert out['a'] == [1, 2.5, True, None, 'x'] and out['d'] == [2, 'x']
    assert torch.equal(out['b']['t'], torch.ones(2)) and not out['b']['t'].requires_grad
    assert out['c'][::2] == [3, [1, 2]] and torch.equal(out['c'][1], torch.arange(3))
    with pytest.raises(TypeError, match=r'checkpoint\.meta\.list\[1\]: it is a Foreign'):
        plain({'meta': {'list': [0, Foreign()]}})


@pytest.mark.parametrize('zipped', [True, False])
def test_foreign_objects_need_trust_and_code_does_not_run(tmp_path, monkeypatch, zipped):
    monkeypatch.chdir(tmp_path)
    for value, name in ((Exploit(), 'system'), (Foreign(), 'Foreign')):
        torch.save({'meta': value}, 'foreign.pth', _use_new_zipfile_serialization=zipped)
        with pytest.raises(CheckpointError, match=rf'{name}.*--trust-checkpoint'):
            load_checkpoint_file('foreign.pth')
    assert isinstance(load_checkpoint_file('foreign.pth', trust=True)['meta'], Foreign)
    assert not (tmp_path / 'exploited').exists()


def test_containers_of_other_toolboxes_load_without_trust(tmp_path):
    meta = {'numpy': np.float64(2), 'counter': collections.Counter('ab'), 'c': ConfigDict(a=1)}
    weights = collections.OrderedDict({'module._orig_mod.w': torch.ones(2)})
    hub = {'log_scalars': {'loss': HistoryBuffer([1.0], [1])}}
    torch.save({'meta': meta, 'state_dict': weights, 'message_hub': hub}, tmp_path / 'mm.pth')
    with pytest.raises(pickle.UnpicklingError):  # or this test would prove nothing
        torch.load(tmp_path / 'mm.pth', weights_only=True)
    loaded = load_checkpoint_file(tmp_path / 'mm.pth')
    assert loaded['meta'] == {'numpy': 2, 'counter': {'a': 1, 'b': 1}, 'c': {'a': 1}}
    assert list(state_dict_of(loaded)) == ['w']


def test_what_is_no_whole_checkpoint_is_named(tmp_path):
    path = tmp_path / 'a.pth'
    torch.save({'state_dict': {'w': torch.ones(2000)}}, path)
    whole, no = path.read_bytes(), r'a\.pth.*not a PyTorch checkpoint'
    cuts = [(whole[:keep], r'a\.pth \(\d+ bytes\) is truncated') for keep in (0, 4000, -10)]
    for content, said in (*cuts, (b'<html>not found</html>', no)):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=said):
            load_checkpoint_file(path)
    with pytest.raises(CheckpointError, match=r'epoch_4\.pth.*a\.pth'):
        load_checkpoint_file(tmp_path / 'epoch_4.pth')
    with pytest.raises(CheckpointError, match=r'no weights.*Keys: meta'):
        state_dict_of({'meta': {}})


# -- into a model ----------------------------------------------------------------------------------


def test_load_weights_lists_what_does_not_fit():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 3))
    given = {'0.weight': torch.ones(2, 2), '1.weight': torch.ones(5, 2)}
    given |= {f'extra.{i}': torch.ones(1) for i in range(1000)}
    with pytest.raises(CheckpointError) as caught:
        load_weights(model, given)
    text = str(caught.value)
    assert '2 missing in the checkpoint: 0.bias, 1.bias' in text
    assert '1000 unexpected in the checkpoint: extra.0, ' in text and 'and 988 more' in text
    assert '1.weight (checkpoint (5, 2), model (3, 2))' in text and '--allow-partial' in text
    report = load_weights(model, given, allow_partial=True)
    assert len(report) == 3 and torch.equal(model[0].weight, torch.ones(2, 2))
    with pytest.raises(CheckpointError, match='None of the 1 weights fits'):
        load_weights(model, {'other': torch.ones(1)}, allow_partial=True)


def test_weights_that_are_not_finite_are_named():
    model = nn.Linear(2, 3)
    weights = {'weight': torch.tensor([[1.0, float('inf')]] * 3), 'bias': torch.zeros(3)}
    with pytest.raises(CheckpointError, match=r'1 with NaN or infinite numbers .*: weight'):
        load_weights(model, weights)
    assert '1 with NaN' in load_weights(model, weights, allow_partial=True)[0]
    assert model.weight.isfinite().all() and not model.bias.any()  # what is finite is loaded


def test_find_latest_valid_goes_by_the_time_inside(tmp_path):
    saved_at = {'epoch_2': 200.0, 'epoch_10': 100.0, 'best_vid_AP50': 300.0}  # 10: an earlier run
    for name, time in saved_at.items():
        value = {'state_dict': {}, 'optimizer': {}, 'meta': {'epoch': 0, 'saved_at': time}}
        save_checkpoint(value, tmp_path / f'{name}.pth')
    os.utime(tmp_path / 'epoch_10.pth', (9e9, 9e9))
    save_checkpoint({'state_dict': {}}, tmp_path / 'weights_only.pth')
    assert find_latest_valid(tmp_path) == tmp_path / 'epoch_2.pth'
    assert find_latest_valid(tmp_path / 'absent') is None
