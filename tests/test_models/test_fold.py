"""Folding batch norms changes outputs by rounding only."""

import pytest
import torch
from torch import nn

from mmdet.models.fold import fuse_conv_bn


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)
        self.conv2, self.norm2 = nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)
        self.down = nn.Sequential(nn.Conv2d(4, 5, 1), nn.BatchNorm2d(5), nn.ReLU())
        self.bn3 = nn.BatchNorm2d(5)  # has no convolution of its own

    def forward(self, x):
        x = self.norm2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return self.bn3(self.down(x))


def with_statistics(model):
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return model.eval()


def test_pairs_are_found_by_name_and_in_sequences():
    model = with_statistics(Block())
    x = torch.randn(2, 3, 9, 9)
    expected = model(x)
    assert fuse_conv_bn(model) == 3
    assert isinstance(model.bn3, nn.BatchNorm2d) and isinstance(model.bn1, nn.Identity)
    torch.testing.assert_close(model(x), expected, atol=1e-5, rtol=1e-5)


def test_a_model_in_training_mode_is_refused():
    with pytest.raises(ValueError, match=r'model\.eval\(\)'):
        fuse_conv_bn(Block())
