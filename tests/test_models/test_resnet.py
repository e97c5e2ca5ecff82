"""The backbone and its pretrained weights."""

import urllib.error
import urllib.request

import pytest
import torch
import torch.nn.functional as F
import torchvision.models as tv
from torch import nn

from mmdet.core.errors import ConfigError
from mmdet.models.backbones import ResNet
from mmdet.models.backbones.pretrained import resolve

DC5 = dict(strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2), out_indices=(3,))
IMAGE = torch.rand(1, 3, 64, 96, generator=torch.manual_seed(0))


def randomise(model: nn.Module) -> dict[str, torch.Tensor]:
    """Weights and statistics that let every layer matter; returns the state dict."""
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model.state_dict()


def without_classifier(state: dict) -> dict:
    return {name: value for name, value in state.items() if not name.startswith('fc.')}


@torch.no_grad()
def torchvision_maps(model: tv.ResNet, x: torch.Tensor) -> list[torch.Tensor]:
    x = model.maxpool(model.relu(model.bn1(model.conv1(x))))
    maps = []
    for layer in (model.layer1, model.layer2, model.layer3, model.layer4):
        x = layer(x)
        maps.append(x)
    return maps


@pytest.mark.parametrize('depth', [18, 50])
def test_pyramid_maps_equal_torchvision(depth):
    theirs = getattr(tv, f'resnet{depth}')().eval()
    ours = ResNet(depth).eval()
    ours.load_state_dict(without_classifier(randomise(theirs)))
    with torch.no_grad():
        found = ours(IMAGE)
    for x, y in zip(found, torchvision_maps(theirs, IMAGE), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-4)
    assert [x.shape[1] for x in found] == ours.out_channels


def test_dilated_stage_differs_from_torchvision_in_its_first_block_only():
    theirs = tv.resnet50(replace_stride_with_dilation=[False, False, True]).eval()
    ours = ResNet(50, **DC5).eval()
    ours.load_state_dict(without_classifier(randomise(theirs)))
    assert [block.conv2.dilation for block in ours.layer4] == [(2, 2)] * 3
    assert [block.conv2.dilation for block in theirs.layer4] == [(1, 1), (2, 2), (2, 2)]
    with torch.no_grad():
        (found,) = ours(IMAGE)
    assert not torch.allclose(found, torchvision_maps(theirs, IMAGE)[3], rtol=1e-2, atol=1e-2)
    theirs.layer4[0].conv2.dilation = theirs.layer4[0].conv2.padding = (2, 2)
    expected = torchvision_maps(theirs, IMAGE)[3]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def literal_caffe_bottleneck(block: nn.Module, x: torch.Tensor, stride: int) -> torch.Tensor:
    def norm(x: torch.Tensor, bn: nn.BatchNorm2d) -> torch.Tensor:
        scale = bn.weight / (bn.running_var + 0.25).sqrt()
        return (x - bn.running_mean[:, None, None]) * scale[:, None, None] + bn.bias[:, None, None]

    y = norm(F.conv2d(x[:, :, ::stride, ::stride], block.conv1.weight), block.bn1).clamp(min=0)
    y = norm(F.conv2d(y, block.conv2.weight, padding=1), block.bn2).clamp(min=0)
    y = norm(F.conv2d(y, block.conv3.weight), block.bn3)
    if block.downsample is not None:
        x = norm(F.conv2d(x[:, :, ::stride, ::stride], block.downsample[0].weight),
                 block.downsample[1])  # fmt: skip
    return (x + y).clamp(min=0)


@torch.no_grad()
def test_caffe_bottleneck_strides_in_its_first_convolution_and_norms_have_their_epsilon():
    model = ResNet(50, base_channels=8, style='caffe', norm_eps=0.25).eval()
    randomise(model)
    maps = model(IMAGE)
    for i, stride in ((1, 2), (2, 2), (3, 2)):
        x = maps[i - 1]
        for number, block in enumerate(model.stages[i]):
            x = literal_caffe_bottleneck(block, x, stride if number == 0 else 1)
        torch.testing.assert_close(maps[i], x, rtol=1e-4, atol=1e-4)


def test_stem_and_first_stage_are_frozen():
    model = ResNet(18, base_channels=12, frozen_stages=1)
    frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {
        n for n, _ in model.named_parameters() if n.startswith(('conv1.', 'bn1.', 'layer1.'))
    }
    assert all(p.requires_grad for p in ResNet(18, base_channels=12).parameters())


def moved_statistics(**kwargs) -> set[str]:
    """Parts of the backbone whose running statistics change in a training step."""
    model = ResNet(18, base_channels=12, frozen_stages=1, **kwargs).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model(IMAGE)
    after = model.state_dict()
    return {k.split('.')[0] for k in before if not torch.equal(before[k], after[k])}


def test_statistics_of_batch_norm_move_only_when_asked_to_and_never_in_frozen_stages():
    assert moved_statistics() == set()
    assert moved_statistics(norm_eval=False) == {'layer2', 'layer3', 'layer4'}


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(depth=152), r'depth 152 is unknown. Known: \[18, 34, 50, 101\]'),
        (dict(style='tensorflow'), "a style of .*'caffe'.* got 4 and 'tensorflow'"),
        (dict(num_stages=3), "num_stages=4.*got 3 and 'pytorch'"),
    ],
)
def test_unknown_kinds_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        ResNet(**{'depth': 50, **change})


def pretrained(checkpoint: str, **kwargs) -> ResNet:
    return ResNet(18, init_cfg=dict(type='Pretrained', checkpoint=checkpoint), **kwargs)


def test_pretrained_weights_are_loaded_by_init_weights_and_without_the_classifier(tmp_path):
    path = tmp_path / 'resnet18.pth'
    weights = randomise(tv.resnet18())
    torch.save(weights, path)
    model = pretrained(str(path))
    assert not torch.equal(model.conv1.weight, weights['conv1.weight'])
    model.init_weights()
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name]), name


def test_pretrained_weights_must_fit(tmp_path):
    path = tmp_path / 'resnet50.pth'
    with torch.device('meta'):
        names = tv.resnet50().state_dict()
    torch.save({name: torch.zeros(1) for name in names if 'conv3' in name}, path)
    with pytest.raises(ValueError, match=r'does not fit ResNet: missing.*unexpected.*Check depth'):
        pretrained(str(path)).init_weights()


def test_torchvision_names():
    expected = tv.ResNet101_Weights.IMAGENET1K_V1.url
    assert resolve('torchvision://resnet101') == expected
    assert resolve('weights/own.pth') == 'weights/own.pth'
    with pytest.raises(ValueError, match="torchvision has no weights named 'resnet102'"):
        resolve('torchvision://resnet102')


def test_without_internet_one_sentence_says_what_to_do(monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise urllib.error.URLError('Network is unreachable')

    monkeypatch.setattr(urllib.request, 'urlopen', refuse)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    with pytest.raises(ConfigError, match=r'init_cfg.checkpoint') as error:
        pretrained('torchvision://resnet18').init_weights()
    text = str(error.value)
    assert "'torchvision://resnet18' cannot be read" in text and 'unreachable' in text
    assert tv.ResNet18_Weights.IMAGENET1K_V1.url in text and 'download it elsewhere' in text


@pytest.mark.parametrize(
    ('init_cfg', 'message'),
    [
        (dict(type='Kaiming'), r'legal is None or dict\(type="Pretrained"'),
        (dict(type='Pretrained'), r'legal is None or dict\(type="Pretrained"'),
        (dict(type='Pretrained', checkpoint='absent.pth'), r'absent.pth.*init_cfg'),
    ],
)
def test_weights_that_are_not_there_are_refused(init_cfg, message):
    with pytest.raises(ConfigError, match=message):
        ResNet(18, base_channels=12, init_cfg=init_cfg).init_weights()
