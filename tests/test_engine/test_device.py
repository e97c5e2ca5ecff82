"""Devices and settings of GPUs, with PyTorch's view of the machine replaced: no GPU is needed."""

import pytest
import torch
from toy_runs import CONFIG

from mmdet import apis
from mmdet.core.errors import ConfigError
from mmdet.engine.device import Backends, choose_device


@pytest.fixture
def gpus(monkeypatch):
    """Three GPUs; the rank of this process is 2."""
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 3)
    monkeypatch.setenv('LOCAL_RANK', '2')


@pytest.mark.parametrize(
    ('name', 'launcher', 'expected'),
    [
        *((None, 'none', 'cuda:0'), ('cuda', 'none', 'cuda:0'), ('cuda:2', 'none', 'cuda:2')),
        *((None, 'pytorch', 'cuda:2'), ('cuda', 'pytorch', 'cuda:2')),
        *(('cpu', 'none', 'cpu'), ('cpu', 'pytorch', 'cpu')),
    ],
)
def test_a_process_takes_the_gpu_it_is_told_or_that_of_its_number(gpus, name, launcher, expected):
    assert choose_device(name, launcher) == torch.device(expected)


@pytest.mark.parametrize(
    ('name', 'launcher', 'said'),
    [
        ('cuda:1', 'pytorch', '--device cuda:1 with --launcher pytorch.*CUDA_VISIBLE_DEVICES=1'),
        ('cuda:3', 'none', r'cuda:3.* 3 GPU\(s\), cuda:0 to cuda:2'),
        ('gpu', 'none', '--device gpu.*Legal: cpu, cuda, cuda:N'),
    ],
)
def test_a_device_that_cannot_be_is_refused_before_any_work(gpus, tmp_path, name, launcher, said):
    with pytest.raises(ConfigError, match=said):
        apis.train(CONFIG, work_dir=str(tmp_path / 'w'), device=name, launcher=launcher)
    assert not (tmp_path / 'w').exists()


def test_without_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert choose_device(None) == torch.device('cpu')
    with pytest.raises(ConfigError, match=r'no GPU here.*--device cpu'):
        choose_device('cuda')


def test_tf32_and_cudnn_benchmark():
    assert str(Backends.of(None, True, False)) == 'TF32 on, cuDNN benchmark on'
    assert str(Backends.of({'tf32': False}, False, False)) == 'TF32 off, cuDNN benchmark off'
    assert str(Backends.of({'cudnn_benchmark': None}, True, True)) == 'TF32 on, cuDNN benchmark off'


def test_deterministic_training_on_a_gpu_needs_a_fixed_number_of_samples(repo, gpus, tmp_path):
    fpn = repo / 'configs/vid/faster_rcnn/faster_rcnn_r50_fpn_3x.py'
    key = 'model.roi_head.bbox_roi_extractor.roi_layer.sampling_ratio'
    with pytest.raises(ConfigError, match=f'`{key}` is 0.*{key}=2'):
        apis.train(fpn, work_dir=str(tmp_path / 'w'), deterministic=True, validate=False)
    assert not (tmp_path / 'w').exists()
