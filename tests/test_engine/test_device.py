"""Devices and settings of GPUs, with PyTorch's view of the machine replaced: no GPU is needed."""

import pytest
import torch
from mmengine import Config
from toy_runs import CONFIG, ONE_EPOCH, train

from mmdet import apis
from mmdet.core.errors import ConfigError
from mmdet.engine.device import Backends, check_deterministic, choose_device, make_current
from mmdet.engine.rng import get_rng_state

CPU, GPU = torch.device('cpu'), torch.device('cuda', 0)


@pytest.fixture
def gpus(monkeypatch):
    """Three GPUs, of which one is current; gives the list of what became current."""
    current = [0]
    for name, value in {
        'is_available': lambda: True,
        'is_initialized': lambda: True,
        'device_count': lambda: 3,
        'set_device': lambda device: current.append(device.index),
        'get_rng_state': lambda: torch.tensor([current[-1]], dtype=torch.uint8),
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setenv('LOCAL_RANK', '2')
    return current


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
    assert choose_device(None) == choose_device('cpu') == CPU
    with pytest.raises(ConfigError, match=r'no GPU here.*--device cpu'):
        choose_device('cuda')


def test_the_generator_that_is_saved_is_that_of_the_used_gpu(gpus):
    make_current(CPU)
    assert gpus == [0]
    make_current(choose_device('cuda:1'))
    assert get_rng_state()['cuda'].tolist() == [1]


@pytest.fixture
def flags():
    """Reads PyTorch's switches; puts them back."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    yield lambda: (matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark)
    matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before


@pytest.mark.parametrize(
    ('env_cfg', 'testing', 'deterministic', 'expected'),
    [
        ({}, False, False, (True, True, False)),
        (None, True, False, (True, True, True)),
        ({'tf32': True, 'cudnn_benchmark': None}, True, True, (True, True, False)),
        ({'tf32': False}, True, False, (False, False, True)),
        ({'cudnn_benchmark': True}, False, False, (True, True, True)),
        ({'cudnn_benchmark': False}, True, False, (True, True, False)),
    ],
)
def test_tf32_and_cudnn_benchmark(flags, env_cfg, testing, deterministic, expected):
    backends, before = Backends.of(env_cfg, testing, deterministic), flags()
    backends.apply(CPU)
    assert flags() == before
    backends.apply(GPU)
    assert flags() == expected
    words = ('off', 'on')
    assert str(backends) == f'TF32 {words[expected[0]]}, cuDNN benchmark {words[expected[2]]}'


def test_a_detector_follows_env_cfg(monkeypatch):
    applied = []
    monkeypatch.setattr(Backends, 'apply', lambda self, device: applied.append((self, device)))
    apis.init_detector(CONFIG, device='cpu', cfg_options={'env_cfg.tf32': False})
    assert applied == [(Backends(tf32=False, cudnn_benchmark=True), CPU)]
    with pytest.raises(ConfigError, match=r"env_cfg\.tf32 must be True or False, not 'yes'"):
        apis.init_detector(CONFIG, device='cpu', cfg_options={'env_cfg.tf32': 'yes'})


def test_deterministic_training_on_a_gpu_needs_a_fixed_number_of_samples(repo, gpus, tmp_path):
    fpn = repo / 'configs/vid/faster_rcnn/faster_rcnn_r50_fpn_3x.py'
    key = 'model.roi_head.bbox_roi_extractor.roi_layer.sampling_ratio'
    with pytest.raises(ConfigError, match=f'`{key}` is 0.*{key}=2'):
        apis.train(fpn, work_dir=str(tmp_path / 'w'), deterministic=True, validate=False)
    assert not (tmp_path / 'w').exists()
    model = Config.fromfile(fpn).model
    check_deterministic(model, CPU)
    model.roi_head.bbox_roi_extractor.roi_layer.sampling_ratio = 2
    check_deterministic(model, GPU)
    del model.roi_head.bbox_roi_extractor.roi_layer.sampling_ratio  # its default adapts, too
    with pytest.raises(ConfigError, match='is 0'):
        check_deterministic(model, GPU)


def test_batches_for_a_gpu_are_pinned(tmp_path, monkeypatch):
    runner = train(tmp_path, ONE_EPOCH)
    assert not runner.train_dataloader.pin_memory and not runner.val_dataloader.pin_memory
    monkeypatch.setattr(type(runner), 'device', GPU)
    loader = runner.cfg.val_dataloader
    assert runner.build_dataloader(loader).pin_memory
    assert not runner.build_dataloader({**loader, 'pin_memory': False}).pin_memory
