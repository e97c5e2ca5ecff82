"""Features of regions, from the pyramid level that fits their size (FPN, equation 1)."""

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

from mmdet.models.config import settings
from mmdet.registry import MODELS


@MODELS.register_module()
class SingleRoIExtractor(nn.Module):
    """RoIAlign (Mask R-CNN, half-pixel centres) on one level per region.

    Args:
        roi_layer: `dict(type='RoIAlign', output_size=7, sampling_ratio=2)`; 0 samples adapt.
        out_channels: channels of the maps.
        featmap_strides: strides of the levels used, finest first.
        finest_scale: regions below twice this side use the finest level.
    """

    def __init__(
        self,
        roi_layer: dict,
        out_channels: int,
        featmap_strides: list[int],
        finest_scale: int = 56,
    ) -> None:
        super().__init__()
        layer = settings(roi_layer, 'roi_layer', 'output_size', type='RoIAlign', sampling_ratio=0)
        self.output_size = layer['output_size']
        self.sampling_ratio = layer['sampling_ratio']
        self.out_channels = out_channels
        self.strides = list(featmap_strides)
        self.finest_scale = finest_scale

    def levels(self, rois: Tensor) -> Tensor:
        """The level [N] of each of `rois` [N, 5]."""
        side = ((rois[:, 3] - rois[:, 1]) * (rois[:, 4] - rois[:, 2])).sqrt()
        level = torch.floor(torch.log2(side / self.finest_scale + 1e-6))
        return level.clamp(0, len(self.strides) - 1).long()

    def forward(self, feats: tuple[Tensor, ...], rois: Tensor) -> Tensor:
        """Features [N, C, 7, 7] of `rois` [N, 5] `(index into the batch, x1, y1, x2, y2)`."""
        if len(self.strides) == 1:
            return self._align(feats[0], rois, self.strides[0])
        size = (self.output_size, self.output_size)
        out = rois.new_zeros(len(rois), self.out_channels, *size)
        levels = self.levels(rois)
        for i, stride in enumerate(self.strides):
            chosen = (levels == i).nonzero().flatten()
            if len(chosen):
                out[chosen] = self._align(feats[i], rois[chosen], stride)
        return out

    def _align(self, feat: Tensor, rois: Tensor, stride: int) -> Tensor:
        # float32 also under autocast: half precision has no room for box coordinates
        feat, size = feat.float(), self.output_size
        return roi_align(feat, rois, size, 1 / stride, self.sampling_ratio, aligned=True)


def boxes_to_rois(boxes: list[Tensor]) -> Tensor:
    """Boxes of every image, [N_i, 4 or more] each, as one [sum N_i, 5] with the image's index."""
    rows = [torch.cat([b.new_full((len(b), 1), i), b[:, :4]], dim=1) for i, b in enumerate(boxes)]
    return torch.cat(rows)
