"""Swin weights of other sources, under this package's names.

Microsoft's files (ImageNet classification, COCO detection) differ in names and in the order of the
channels that patch merging puts together; files of mmdetection 2.x and vfe.pytorch 1.x do not.
"""

import re
from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

# Where whole detectors keep their backbone, the most specific first.
BACKBONE_PREFIXES = ('detector.backbone.', 'backbone.')
# A classifier with its norm, and what every model computes itself.
NOT_LOADED = re.compile(r'^(head|norm)\.|\.attn_mask$|\.relative_position_index$')
RENAMED = (
    (r'^patch_embed\.proj\.', 'patch_embed.projection.'),
    (r'^layers\.', 'stages.'),
    (r'^(stages\..*\.)attn\.', r'\1attn.w_msa.'),
    (r'\.mlp\.fc1\.', '.ffn.layers.0.0.'),
    (r'\.mlp\.fc2\.', '.ffn.layers.1.'),
)


def swin_weights(
    state: Mapping[str, Tensor], model: nn.Module, convert: bool | None = None
) -> dict[str, Tensor]:
    """The entries of `state` for the Swin `model`, named, ordered and sized as its own.

    The model keeps output norms that the file lacks (ImageNet files), and its constant index.
    Tables of another window size are resampled; all else is passed on, fitting or not.

    Args:
        state: of a backbone, or of a whole detector, whose other parts are left out.
        convert: whether the names are Microsoft's; None: look.
    """
    state = _backbone_entries(state)
    if convert or (convert is None and any(name.startswith('layers.') for name in state)):
        state = _from_microsoft(state)
    own = model.state_dict()
    kept = {k: v for k, v in own.items() if re.match(r'norm\d+\.|.*relative_position_index$', k)}
    for name, tensor in state.items():
        if NOT_LOADED.search(name) or (re.match(r'norm\d+\.', name) and name not in own):
            continue
        if name.endswith('relative_position_bias_table') and name in own:
            tensor = resize_table(tensor, len(own[name]))
        kept[name] = tensor
    return kept


def _backbone_entries(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    for prefix in BACKBONE_PREFIXES:
        found = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        if found:
            return found
    return dict(state)


def _from_microsoft(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names and channel order of the official repository to ours."""
    converted = {}
    for name, tensor in state.items():
        for old, new in RENAMED:
            name = re.sub(old, new, name)
        if '.downsample.' in name:
            tensor = reorder_merged_channels(tensor)
        converted[name] = tensor
    return converted


def reorder_merged_channels(tensor: Tensor) -> Tensor:
    """The last axis, 4C: from neighbour-major (0,0), (1,0), (0,1), (1,1) in (row, column) to ours.

    Ours is channel * 4 + row * 2 + column.
    """
    neighbours = tensor.unflatten(-1, (4, -1))[..., [0, 2, 1, 3], :]
    return neighbours.transpose(-1, -2).flatten(-2)


def resize_table(table: Tensor, entries: int) -> Tensor:
    """A relative position table [(2w-1)**2, heads] for another window size, bicubic."""
    if len(table) == entries:
        return table
    old, new = (round(n**0.5) for n in (len(table), entries))
    planes = table.t().float().reshape(1, -1, old, old)
    resized = F.interpolate(planes, size=(new, new), mode='bicubic', align_corners=False)
    return resized.flatten(2)[0].t().to(table.dtype).contiguous()
