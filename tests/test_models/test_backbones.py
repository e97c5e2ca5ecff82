"""ResNet, CSPDarknet and their pretrained weights; Swin has files of its own."""

import urllib.error
import urllib.request

import pytest
import torch
import torchvision.models as tv
from torch import nn

from mmdet.core.errors import ConfigError
from mmdet.models.backbones import CSPDarknet, ResNet

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


# ---- ResNet


def dilated(model: tv.ResNet) -> None:
    """Also the first block, which torchvision's option leaves out."""
    for block in model.layer4:
        block.conv2.dilation = block.conv2.padding = (2, 2)
    model.layer4[0].conv2.stride = model.layer4[0].downsample[0].stride = (1, 1)


def of_caffe(model: tv.ResNet) -> None:
    """Bottlenecks stride in their first convolution."""
    for layer in (model.layer2, model.layer3, model.layer4):
        layer[0].conv1.stride, layer[0].conv2.stride = (2, 2), (1, 1)
    for norm in [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]:
        norm.eps = 0.25


@pytest.mark.parametrize(
    ('depth', 'options', 'change'),
    [
        (18, {}, None),
        (50, {}, None),
        (50, dict(strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)), dilated),
        (50, dict(style='caffe', norm_eps=0.25), of_caffe),
    ],
)
@torch.no_grad()
def test_maps_equal_those_of_torchvision(depth, options, change):
    theirs = randomised(getattr(tv, f'resnet{depth}')())
    if change is not None:
        change(theirs)
    ours = ResNet(depth, **options).eval()
    ours.load_state_dict({k: v for k, v in theirs.state_dict().items() if k[:2] != 'fc'})
    found, x = ours(IMAGE), theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(IMAGE))))
    for i, layer in enumerate((theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4)):
        x = layer(x)
        torch.testing.assert_close(found[i], x, rtol=1e-4, atol=1e-4)
    assert [x.shape[1] for x in found] == ours.out_channels


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
def test_frozen_stages_do_not_learn_and_statistics_move_only_when_asked_to(model, moving):
    before = {k: v.clone() for k, v in model.train().state_dict().items()}
    model(IMAGE)
    after = model.state_dict()
    assert {k.split('.')[0] for k in before if not torch.equal(before[k], after[k])} == moving
    for name, parameter in model.named_parameters() if isinstance(model, ResNet) else ():
        assert parameter.requires_grad != name.startswith(('conv1.', 'bn1.', 'layer1.'))


def test_unknown_kinds_are_refused():
    with pytest.raises(ConfigError, match=r'depth 152 is unknown. Known: \[18, 34, 50, 101\]'):
        ResNet(152)
    with pytest.raises(ConfigError, match='stages are 1 to 4'):
        CSPDarknet(out_indices=(0, 5))


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
    torch.save({'layer1.0.conv3.weight': torch.zeros(1)}, tmp_path / 'resnet50.pth')
    with pytest.raises(ValueError, match=r'does not fit ResNet: missing.*unexpected.*Check depth'):
        pretrained(tmp_path / 'resnet50.pth').init_weights()


def test_without_internet_one_sentence_says_what_to_do(monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise urllib.error.URLError('Network is unreachable')

    with pytest.raises(ValueError, match="torchvision has no weights named 'resnet102'"):
        pretrained('torchvision://resnet102').init_weights()
    monkeypatch.setattr(urllib.request, 'urlopen', refuse)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    with pytest.raises(ConfigError, match=r'init_cfg.checkpoint') as error:
        pretrained('torchvision://resnet18').init_weights()
    for part in ("'torchvision://resnet18'", 'unreachable', tv.ResNet18_Weights.IMAGENET1K_V1.url):
        assert part in str(error.value)


def test_weights_that_are_not_there_are_refused():
    with pytest.raises(ConfigError, match=r'legal is None or dict\(type="Pretrained"'):
        ResNet(18, base_channels=12, init_cfg=dict(type='Kaiming')).init_weights()
    with pytest.raises(ConfigError, match=r'absent.pth.*init_cfg'):
        pretrained('absent.pth').init_weights()
