"""Crafted checkpoints and results files: refused in one sentence, by a process that lives on."""

import pickle
import zipfile

import numpy as np
import pytest
import torch
from hostile import (
    FLOAT,
    TENSORS,
    VALUES,
    array,
    program,
    storage,
    tensor,
    torch_legacy,
    torch_zip,
)

from mmdet.core.checkpoint_file import load_checkpoint_file
from mmdet.core.errors import CheckpointError, EvaluationError
from mmdet.engine.checkpoint import find_latest_valid, save_checkpoint
from mmdet.evaluation.results import read_pkl

FOUR = torch.arange(4.0).numpy().tobytes()


@pytest.mark.parametrize('name', VALUES)
def test_results_files(tmp_path, name):
    (tmp_path / 'r.pkl').write_bytes(program([[VALUES[name]]]))
    with pytest.raises(EvaluationError, match=r'r\.pkl'):
        read_pkl(tmp_path / 'r.pkl', 1, 1)


@pytest.mark.parametrize('write', [torch_zip, torch_legacy])
@pytest.mark.parametrize('name', VALUES)
def test_checkpoints(tmp_path, name, write):
    path = tmp_path / 'c.pth'
    path.write_bytes(write({'state_dict': VALUES[name]}))
    with pytest.raises(CheckpointError, match=r'c\.pth'):
        load_checkpoint_file(path)


@pytest.mark.parametrize('name', TENSORS)
def test_weights_beyond_their_memory(tmp_path, name):
    path = tmp_path / 'c.pth'
    path.write_bytes(torch_zip({'w': TENSORS[name]}, {'0': FOUR}))
    with pytest.raises(CheckpointError, match=r'c\.pth'):
        load_checkpoint_file(path)


def test_the_assembler_writes_files_that_torch_reads(tmp_path):
    """Or the tests above would show nothing."""
    good = tensor(storage('0', 4), 1, (3,), (1,))
    (tmp_path / 'a.pth').write_bytes(torch_zip({'w': good}, {'0': FOUR}))
    memory = b'\x04\0\0\0\0\0\0\0' + FOUR
    old = tensor(storage('0', 4, 'FloatStorage', None), 1, (3,), (1,))
    (tmp_path / 'b.pth').write_bytes(torch_legacy({'w': old}, ['0'], memory))
    for name in ('a.pth', 'b.pth'):
        for loaded in (
            torch.load(tmp_path / name, weights_only=True),
            load_checkpoint_file(tmp_path / name),
        ):
            assert torch.equal(loaded['w'], torch.tensor([1.0, 2.0, 3.0]))


def test_an_honest_array_of_the_assembler_is_read(tmp_path):
    rows = np.arange(5, dtype=np.float32)
    (tmp_path / 'r.pkl').write_bytes(program([[array((1, 5), FLOAT, rows.tobytes())]]))
    found = read_pkl(tmp_path / 'r.pkl', 1, 1)
    assert found.boxes.tolist() == [[0, 1, 2, 3]] and found.score.tolist() == [4]


def test_a_program_in_an_archive_is_refused(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / 'script.pth')
    np.savez(tmp_path / 'arrays.pth.npz', a=np.array([object()], object))
    for name, said in (('script.pth', 'TorchScript'), ('arrays.pth.npz', 'not a PyTorch')):
        with pytest.raises(CheckpointError, match=said):
            load_checkpoint_file(tmp_path / name)


# -- honest files ----------------------------------------------------------------------------------


def honest() -> dict:
    base = torch.randn(6, 4, dtype=torch.float64)
    return {
        'state_dict': {
            'half': torch.randn(3, 5).half(),
            'bf16': torch.randn(2, 2).bfloat16(),
            'flags': torch.tensor([True, False]),
            'transposed': torch.randn(3, 4).t(),
            'none': torch.zeros(0, 4),
            'scalar': torch.tensor(3),
            'base': base,
            'view': base[1:3, 2:],
            'uint16': torch.tensor([1, 2, 3], dtype=torch.uint16),
            'parameter': torch.nn.Parameter(torch.randn(2)),
        },
        'meta': {'version': torch.__version__, 'size': torch.Size([1, 2]), 'array': np.eye(3)},
    }


@pytest.mark.parametrize('zipped', [True, False])
def test_every_kind_of_tensor_comes_as_torch_loads_it(tmp_path, zipped):
    value = honest()
    if not zipped:
        del value['state_dict']['uint16']  # torch cannot write it so
    torch.save(value, tmp_path / 'a.pth', _use_new_zipfile_serialization=zipped)
    ours = load_checkpoint_file(tmp_path / 'a.pth')
    theirs = torch.load(tmp_path / 'a.pth', weights_only=False)
    for name, tensor_ in theirs['state_dict'].items():
        found = ours['state_dict'][name]
        assert found.dtype == tensor_.dtype and found.stride() == tensor_.stride(), name
        assert torch.equal(found.double(), tensor_.double()), name
    shared = ours['state_dict']['base'].data_ptr()
    assert ours['state_dict']['view'].data_ptr() == shared + (1 * 4 + 2) * 8
    assert ours['meta']['version'] == str(torch.__version__) and ours['meta']['size'] == (1, 2)
    np.testing.assert_array_equal(ours['meta']['array'], np.eye(3))


# -- damage ----------------------------------------------------------------------------------------


def flip(path, position: int, bit: int = 1) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= bit
    path.write_bytes(data)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / 'epoch_1.pth'
    weights = {'w': torch.randn(100, 100), 'b': torch.randn(50)}
    meta = {'epoch': 1, 'iter': 10, 'saved_at': 1.0}
    save_checkpoint({'state_dict': weights, 'optimizer': {}, 'meta': meta}, path)
    return path


def test_a_flipped_bit_is_found_and_its_record_named(saved):
    with zipfile.ZipFile(saved) as archive:
        info = (
            archive.getinfo('archive/data/0')
            if 'archive/data/0' in archive.namelist()
            else next(i for i in archive.infolist() if i.filename.endswith('data/0'))
        )
    flip(saved, info.header_offset + 5000)
    assert torch.load(saved, weights_only=True) is not None  # torch does not look
    with pytest.raises(CheckpointError, match=r'epoch_1\.pth is damaged: .*data/0.*CRC-32'):
        load_checkpoint_file(saved)
    with pytest.raises(CheckpointError, match='CRC-32'):
        load_checkpoint_file(saved, trust=True)


def test_trust_does_not_mean_damaged(tmp_path):
    path = tmp_path / 'a.pth'
    torch.save({'w': torch.ones(1000), 'x': pickle.Pickler}, path)
    assert load_checkpoint_file(path, trust=True)['x'] is pickle.Pickler
    flip(path, path.read_bytes().index(torch.ones(4).numpy().tobytes()) + 40)
    with pytest.raises(CheckpointError, match='CRC-32'):
        load_checkpoint_file(path, trust=True)


def test_records_that_changed_places_are_found_by_the_digest(saved, tmp_path):
    """Two tensors of one size: every check sum is right, and the weights are wrong."""
    path = tmp_path / 'swapped.pth'
    save_checkpoint({'state_dict': {'a': torch.zeros(9), 'b': torch.ones(9)}}, path)
    with zipfile.ZipFile(path) as archive:
        records = {i.filename: archive.read(i) for i in archive.infolist()}
    zero, one = (n for n in records if n.endswith(('data/0', 'data/1')))
    records[zero], records[one] = records[one], records[zero]
    with zipfile.ZipFile(path, 'w') as archive:
        for name, data in records.items():
            archive.writestr(name, data)
    with pytest.raises(CheckpointError, match='digest of other contents'):
        load_checkpoint_file(path)


def test_resuming_takes_the_newest_whole_file(saved, monkeypatch):
    newer = saved.with_name('epoch_2.pth')
    meta = {'epoch': 2, 'iter': 20, 'saved_at': 2.0}
    value = {'state_dict': {'w': torch.randn(100, 100)}, 'optimizer': {}, 'meta': meta}
    save_checkpoint(value, newer)
    assert find_latest_valid(saved.parent) == newer
    said = []
    monkeypatch.setattr('mmdet.engine.checkpoint.print_log', lambda text, **_: said.append(text))
    flip(newer, newer.stat().st_size // 2)
    assert find_latest_valid(saved.parent) == saved
    assert len(said) == 1 and 'epoch_2.pth' in said[0] and 'CRC-32' in said[0]


@pytest.mark.parametrize('kind', ['packed', 'overlapping', 'twice'])
def test_archives_that_torch_never_writes(tmp_path, kind):
    path = tmp_path / 'a.pth'
    data = torch_zip({'w': tensor(storage('0', 4), 0, (4,), (1,))}, {'0': FOUR})
    path.write_bytes(data)
    with zipfile.ZipFile(path) as archive:
        records = {i.filename: archive.read(i) for i in archive.infolist()}
    if kind == 'packed':
        with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
            for name, content in records.items():
                archive.writestr(name, content)
    elif kind == 'twice':
        with zipfile.ZipFile(path, 'a') as archive, pytest.warns(UserWarning):
            archive.writestr('a/data/0', FOUR)
    else:
        with zipfile.ZipFile(path, 'a') as archive:
            archive.getinfo('a/data/0').header_offset = 0
            archive.writestr('a/more', b'')
    with pytest.raises(CheckpointError, match=r'a\.pth'):
        load_checkpoint_file(path)
