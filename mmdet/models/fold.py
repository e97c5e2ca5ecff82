"""Folding batch norms into the convolutions before them, for testing."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

Conv = (nn.Conv2d, nn.Conv3d)


def fuse_conv_bn(model: nn.Module) -> int:
    """Fold every pair of a convolution and its batch norm, in place.

    A pair is `convN` / `bnN` (or `normN`) of one module, or two neighbours in an `nn.Sequential`.
    The norm becomes an identity. Outputs change by rounding.

    Args:
        model: in evaluation mode, weights loaded.

    Returns:
        the number of pairs.

    Raises:
        ValueError: the model is in training mode, where batch norm uses the batch's statistics.
    """
    if model.training:
        raise ValueError('fuse_conv_bn needs a model in evaluation mode: call model.eval() first.')
    pairs = 0
    for module in model.modules():
        for conv_name, norm_name in list(_pairs(module)):
            conv, norm = getattr(module, conv_name), getattr(module, norm_name)
            if conv.out_channels == norm.num_features:
                setattr(module, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(module, norm_name, nn.Identity())
                pairs += 1
    return pairs


def _pairs(module: nn.Module) -> list[tuple[str, str]]:
    """Names of convolutions with their norms among the children of `module`."""
    children = dict(module.named_children())
    norms = [name for name, child in children.items() if isinstance(child, _BatchNorm)]
    found = []
    for norm in norms:
        partner = norm.replace('bn', 'conv').replace('norm', 'conv')
        if partner == norm and isinstance(module, nn.Sequential):
            partner = str(int(norm) - 1) if norm.isdigit() else ''
        if isinstance(children.get(partner), Conv):
            found.append((partner, norm))
    return found
