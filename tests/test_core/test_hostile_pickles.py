"""Crafted checkpoints and results files: refused in one sentence, by a process that lives on."""

import pickle
import warnings
import zipfile

import numpy as np
import pytest
import torch
from hostile import (
    ARRAYS,
    FLOAT,
    FOUR,
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
from mmdet.engine.checkpoint import save_checkpoint
from mmdet.evaluation.results import read_pkl

MEMORY = torch.arange(4.0).numpy().tobytes()
# the words of our own checks: those of numpy and torch would come too late
BEFORE_NUMPY = r'numpy\.|an array|a shape'
BEFORE_TORCH = 'beyond its|no counts|the record|two storages|without a storage|is none|_rebuild'


def refused(path, said: str = '', **options) -> None:
    with pytest.raises(CheckpointError, match=f'{path.name}.*({said})'):
        load_checkpoint_file(path, **options)


@pytest.mark.parametrize('name', VALUES)
def test_every_reader_refuses_it(tmp_path, name):
    value, said = VALUES[name], BEFORE_NUMPY if name in ARRAYS else ''
    for write in (torch_zip, torch_legacy):
        (tmp_path / 'c.pth').write_bytes(write({'state_dict': value}))
        refused(tmp_path / 'c.pth', said)
    (tmp_path / 'r.pkl').write_bytes(program([[value]]))
    with pytest.raises(EvaluationError, match=rf'r\.pkl.*({said})'):
        read_pkl(tmp_path / 'r.pkl', 1, 1)


@pytest.mark.parametrize('name', TENSORS)
def test_weights_beyond_their_memory(tmp_path, name):
    (tmp_path / 'c.pth').write_bytes(torch_zip({'w': TENSORS[name]}, MEMORY))
    refused(tmp_path / 'c.pth', BEFORE_TORCH)


def test_honest_files_of_the_assembler_are_read(tmp_path):
    """Or the tests above would show nothing."""
    good = tensor(FOUR, 1, (3,), (1,))
    old = tensor(storage('0', 4, 'FloatStorage', None), 1, (3,), (1,))
    memory = b'\x04\0\0\0\0\0\0\0' + MEMORY
    for data in (torch_zip({'w': good}, MEMORY), torch_legacy({'w': old}, ['0'], memory)):
        (tmp_path / 'a.pth').write_bytes(data)
        assert load_checkpoint_file(tmp_path / 'a.pth')['w'].tolist() == [1, 2, 3]
    rows = np.arange(5, dtype=np.float32)
    (tmp_path / 'r.pkl').write_bytes(program([[array((1, 5), FLOAT, rows.tobytes())]]))
    assert read_pkl(tmp_path / 'r.pkl', 1, 1).boxes.tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize('zipped', [True, False])
def test_every_kind_of_tensor_comes_as_torch_loads_it(tmp_path, zipped):
    base, path = torch.randn(6, 4, dtype=torch.float64), tmp_path / 'a.pth'
    weights = {
        'bf16': torch.randn(2, 2).bfloat16(),
        'flags': torch.tensor([True, False]),
        'transposed': torch.randn(3, 4).t(),
        'none': torch.zeros(0, 4),
        'scalar': torch.tensor(3),
        'base': base,
        'view': base[1:3, 2:],
        'parameter': torch.nn.Parameter(torch.randn(2)),
    }
    value = {'state_dict': weights, 'meta': {'size': torch.Size([1, 2]), 'array': np.eye(3)}}
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    ours, meta = load_checkpoint_file(path).values()
    for name, theirs in torch.load(path, weights_only=False)['state_dict'].items():
        assert ours[name].dtype == theirs.dtype and ours[name].stride() == theirs.stride(), name
        assert torch.equal(ours[name].double(), theirs.double()), name
    assert ours['view'].data_ptr() == ours['base'].data_ptr() + (1 * 4 + 2) * 8
    assert meta['size'] == (1, 2) and np.array_equal(meta['array'], np.eye(3))


# -- archives --------------------------------------------------------------------------------------


def rewrite(path, change=None, packing: int = zipfile.ZIP_STORED) -> None:
    """Write an archive again, with `change` made to its records."""
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    (change or (lambda records: None))(records)
    with zipfile.ZipFile(path, 'w', packing) as archive:
        for name, data in records.items():
            archive.writestr(name, data)


def test_archives_that_torch_never_writes(tmp_path):
    path, whole = tmp_path / 'a.pth', torch_zip({'w': tensor(FOUR, 0, (4,), (1,))}, MEMORY)
    path.write_bytes(whole)
    rewrite(path, packing=zipfile.ZIP_DEFLATED)
    refused(path, 'compressed')
    for more, said in (('a/data/0', 'two records of one name'), ('a/more', 'lies over')):
        path.write_bytes(whole)
        with zipfile.ZipFile(path, 'a') as archive, warnings.catch_warnings(action='ignore'):
            archive.getinfo('a/data/0').header_offset *= more == 'a/data/0'
            archive.writestr(more, MEMORY)
        refused(path, said)
    torch.jit.script(torch.nn.Linear(2, 2)).save(path)
    refused(path, 'TorchScript')


def test_a_flipped_bit_is_found_and_its_record_named(tmp_path):
    """torch does not look; trust does not mean damaged."""
    path = tmp_path / 'a.pth'
    torch.save({'w': torch.ones(1000), 'x': pickle.Pickler}, path)
    assert load_checkpoint_file(path, trust=True)['x'] is pickle.Pickler
    data = bytearray(path.read_bytes())
    data[data.index(torch.ones(4).numpy().tobytes()) + 40] ^= 1
    path.write_bytes(data)
    assert torch.load(path, weights_only=False) is not None
    refused(path, 'is damaged: .*data/0.*CRC-32', trust=True)


def test_records_that_changed_places_are_found_by_the_digest(tmp_path):
    """Two tensors of one size: every check sum is right, and the weights are wrong."""
    path = tmp_path / 'swapped.pth'
    save_checkpoint({'state_dict': {'a': torch.zeros(9), 'b': torch.ones(9)}}, path)

    def swap(records):
        zero, one = (name for name in records if name.endswith(('data/0', 'data/1')))
        records[zero], records[one] = records[one], records[zero]

    rewrite(path, swap)
    refused(path, 'digest of other contents')
