"""What of a model is compiled. PyTorch's compiler, which takes half a minute, is replaced."""

import pytest
import torch
from toy_runs import train

from mmdet.core.errors import ConfigError
from mmdet.engine.compile import compile_static_parts
from mmdet.engine.config_load import load_config
from mmdet.registry import MODELS


def test_backbone_and_neck_are_compiled_and_keep_their_names(repo, monkeypatch, tmp_path):
    called = []

    def record(model, *, backend):
        name = type(model.__self__).__name__
        return lambda *args: called.append(f'{name} by {backend}') or model(*args)

    monkeypatch.setattr(torch, 'compile', record)
    model = MODELS.build(load_config(repo / 'configs/sample/selsa_r18.py').model)
    names = list(model.state_dict())
    compile_static_parts(model, {'backend': 'x'})
    assert list(model.state_dict()) == names
    model.detector.neck(model.detector.backbone(torch.zeros(1, 3, 64, 64)))
    assert called == ['ResNet by x', 'ChannelMapper by x']
    with pytest.raises(ConfigError, match=r"unknown key 'bakend'.*mean 'backend'"):
        compile_static_parts(model, {'bakend': 'x'})
    with pytest.raises(ConfigError, match='ToyDetector has neither'):
        train(tmp_path, compile=True)
