"""ResNet, CSPDarknet and their pretrained weights."""

import urllib.error
import urllib.request

import pytest
import torch
import torch.nn.functional as F
import torchvision.models as tv
from torch import Tensor, nn

from mmdet.core.errors import ConfigError
from mmdet.models.backbones import CSPDarknet, ResNet
from mmdet.models.backbones.csp_layers import CSPLayer, Focus, SPPBottleneck
from mmdet.models.backbones.pretrained import resolve

DC5 = dict(strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2), out_indices=(3,))
IMAGE = torch.rand(1, 3, 64, 96, generator=torch.manual_seed(0))


def randomised(model: nn.Module) -> nn.Module:
    """In evaluation mode, with norms that let every layer matter."""
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model.eval()


def with_weights_of(model: nn.Module, theirs: tv.ResNet) -> nn.Module:
    state = {k: v for k, v in theirs.state_dict().items() if not k.startswith('fc.')}
    model.load_state_dict(state)
    return model.eval()


def torchvision_maps(model: tv.ResNet, x: Tensor) -> list[Tensor]:
    maps = [model.maxpool(model.relu(model.bn1(model.conv1(x))))]
    for layer in (model.layer1, model.layer2, model.layer3, model.layer4):
        maps.append(layer(maps[-1]))
    return maps[1:]


def norm(x: Tensor, bn: nn.BatchNorm2d, eps: float) -> Tensor:
    scale = bn.weight / (bn.running_var + eps).sqrt()
    return (x - bn.running_mean[:, None, None]) * scale[:, None, None] + bn.bias[:, None, None]


def assert_close(found, expected) -> None:
    for x, y in zip(found, expected, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-4)


# ---- ResNet


@pytest.mark.parametrize('depth', [18, 50])
@torch.no_grad()
def test_pyramid_maps_equal_torchvision(depth):
    theirs = randomised(getattr(tv, f'resnet{depth}')())
    ours = with_weights_of(ResNet(depth), theirs)
    found = ours(IMAGE)
    assert_close(found, torchvision_maps(theirs, IMAGE))
    assert [x.shape[1] for x in found] == ours.out_channels


@torch.no_grad()
def test_dilated_stage_differs_from_torchvision_in_its_first_block_only():
    theirs = randomised(tv.resnet50(replace_stride_with_dilation=[False, False, True]))
    ours = with_weights_of(ResNet(50, **DC5), theirs)
    assert theirs.layer4[0].conv2.dilation == (1, 1)
    theirs.layer4[0].conv2.dilation = theirs.layer4[0].conv2.padding = (2, 2)
    assert_close(ours(IMAGE), torchvision_maps(theirs, IMAGE)[3:])


@torch.no_grad()
def test_caffe_bottleneck_strides_in_its_first_convolution_and_norms_have_their_epsilon():
    model = randomised(ResNet(50, base_channels=8, style='caffe', norm_eps=0.25))
    maps = model(IMAGE)
    for i in (1, 2, 3):
        x = maps[i - 1]
        for number, block in enumerate(model.stages[i]):
            strided = x[:, :, ::2, ::2] if number == 0 else x
            y = norm(F.conv2d(strided, block.conv1.weight), block.bn1, 0.25).clamp(min=0)
            y = norm(F.conv2d(y, block.conv2.weight, padding=1), block.bn2, 0.25).clamp(min=0)
            y = norm(F.conv2d(y, block.conv3.weight), block.bn3, 0.25)
            if block.downsample is not None:
                conv, bn = block.downsample
                x = norm(F.conv2d(strided, conv.weight), bn, 0.25)
            x = (x + y).clamp(min=0)
        torch.testing.assert_close(maps[i], x, rtol=1e-4, atol=1e-4)


def test_stem_and_first_stage_are_frozen():
    model = ResNet(18, base_channels=12, frozen_stages=1)
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad != name.startswith(('conv1.', 'bn1.', 'layer1.'))
    assert all(p.requires_grad for p in ResNet(18, base_channels=12).parameters())


@pytest.mark.parametrize(
    ('model', 'moving'),
    [
        (ResNet(18, base_channels=12, frozen_stages=1), set()),
        (
            ResNet(18, base_channels=12, frozen_stages=1, norm_eval=False),
            {'layer2', 'layer3', 'layer4'},
        ),
        (CSPDarknet(0.33, 0.125, norm_eval=True), set()),
    ],
)
def test_statistics_move_only_when_asked_to_and_never_in_frozen_stages(model, moving):
    before = {k: v.clone() for k, v in model.train().state_dict().items()}
    model(IMAGE)
    after = model.state_dict()
    assert {k.split('.')[0] for k in before if not torch.equal(before[k], after[k])} == moving


# ---- CSPDarknet

X = torch.rand(2, 8, 6, 10, generator=torch.manual_seed(0))


def step(layer: nn.Sequential, x: Tensor) -> Tensor:
    """Convolution, norm with running statistics, swish."""
    conv = layer.conv
    x = F.conv2d(x, conv.weight, stride=conv.stride, padding=conv.weight.shape[-1] // 2)
    x = norm(x, layer.bn, 1e-3)
    return x / (1 + (-x).exp())


@torch.no_grad()
def test_focus_takes_the_pixels_of_a_block_column_by_column():
    focus = randomised(Focus(8, 4))
    quarters = [X[:, :, i::2, j::2] for j in (0, 1) for i in (0, 1)]
    torch.testing.assert_close(focus(X), step(focus.conv, torch.cat(quarters, dim=1)))


@torch.no_grad()
def test_pools_of_three_windows_beside_the_map_itself():
    layer = randomised(SPPBottleneck(8))
    x = step(layer.conv1, X)
    pooled = [x]
    for r in (2, 4, 6):
        wide = F.pad(x, (r, r, r, r), value=-torch.inf)
        pooled.append(wide.unfold(2, 2 * r + 1, 1).unfold(3, 2 * r + 1, 1).amax(dim=(-1, -2)))
    torch.testing.assert_close(layer(X), step(layer.conv2, torch.cat(pooled, 1)))


@pytest.mark.parametrize('add', [True, False])
@torch.no_grad()
def test_half_of_a_csp_layer_goes_past_the_blocks(add):
    layer = randomised(CSPLayer(8, 12, 2, add))
    main = step(layer.main_conv, X)
    for block in layer.blocks:
        y = step(block.conv2, step(block.conv1, main))
        main = main + y if add else y
    both = torch.cat([main, step(layer.short_conv, X)], 1)
    torch.testing.assert_close(layer(X), step(layer.final_conv, both))


@pytest.mark.parametrize(
    ('deepen', 'widen', 'channels', 'blocks'),
    [
        (0.33, 0.5, [128, 256, 512], [1, 3, 3, 1]),
        (0.67, 0.75, [192, 384, 768], [2, 6, 6, 2]),
    ],
)
def test_sizes_s_and_m(deepen, widen, channels, blocks):
    with torch.device('meta'):
        model = CSPDarknet(deepen, widen)
        maps = model(torch.zeros(1, 3, 64, 96))
    assert channels == [x.shape[1] for x in maps]
    assert channels == [model.out_channels[i] for i in model.out_indices]
    assert [x.shape[-2:] for x in maps] == [(8, 12), (4, 6), (2, 3)]
    stages = [getattr(model, f'stage{i}')[-1].blocks for i in (1, 2, 3, 4)]
    assert [len(stage) for stage in stages] == blocks
    assert [stage[0].add_identity for stage in stages] == [True, True, True, False]


@pytest.mark.parametrize(
    ('model', 'change', 'message'),
    [
        (ResNet, dict(depth=152), r'depth 152 is unknown. Known: \[18, 34, 50, 101\]'),
        (ResNet, dict(style='tensorflow'), "a style of .*'caffe'.* got 4 and 'tensorflow'"),
        (ResNet, dict(num_stages=3), "num_stages=4.*got 3 and 'pytorch'"),
        (CSPDarknet, dict(out_indices=(0, 5)), 'stages are 1 to 4'),
    ],
)
def test_unknown_kinds_are_refused(model, change, message):
    with pytest.raises(ConfigError, match=message):
        model(**{**(dict(depth=50) if model is ResNet else {}), **change})


# ---- pretrained weights


def pretrained(checkpoint) -> ResNet:
    return ResNet(18, init_cfg=dict(type='Pretrained', checkpoint=str(checkpoint)))


def test_pretrained_weights_are_loaded_by_init_weights_and_without_the_classifier(tmp_path):
    weights = randomised(tv.resnet18()).state_dict()
    torch.save(weights, tmp_path / 'resnet18.pth')
    model = pretrained(tmp_path / 'resnet18.pth')
    assert not torch.equal(model.conv1.weight, weights['conv1.weight'])
    model.init_weights()
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name]), name


@pytest.mark.parametrize('name', ['fc.bias', 'layer1.0.conv3.weight'])
def test_pretrained_weights_must_fit(tmp_path, name):
    torch.save({name: torch.zeros(1)}, tmp_path / 'resnet50.pth')
    with pytest.raises(ValueError, match=r'does not fit ResNet: missing.*unexpected.*Check depth'):
        pretrained(tmp_path / 'resnet50.pth').init_weights()


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
    for part in ("'torchvision://resnet18'", 'unreachable', tv.ResNet18_Weights.IMAGENET1K_V1.url):
        assert part in str(error.value)


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
