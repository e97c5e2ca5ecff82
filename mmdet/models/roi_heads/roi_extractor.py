"""Features of regions, from the pyramid level that fits their size (FPN, equation 1)."""

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

from mmdet.core.errors import ConfigError
from mmdet.models.config import settings
from mmdet.registry import MODELS


@MODELS.register_module()
class SingleRoIExtractor(nn.Module):
    """RoIAlign (Mask R-CNN) on one level per region.

    Args:
        roi_layer: `dict(type='RoIAlign', output_size=7, sampling_ratio=2)`; 0 samples adapt.
            `aligned=False` leaves out the shift by half a pixel, as Detectron did.
        featmap_strides: strides of the levels used, finest first.
        finest_scale: regions below twice this side use the finest level.
        first_map: number of the map that has the first of `featmap_strides`.
    """

    def __init__(
        self,
        roi_layer: dict,
        out_channels: int,
        featmap_strides: list[int],
        finest_scale: int = 56,
        first_map: int = 0,
    ) -> None:
        super().__init__()
        layer = settings(
            roi_layer, 'roi_layer', 'output_size', type='RoIAlign', sampling_ratio=0, aligned=True
        )
        if layer['type'] != 'RoIAlign':
            raise ConfigError(f'`roi_layer.type` is {layer["type"]!r}. Known: RoIAlign.')
        self.output_size = layer['output_size']
        self.sampling_ratio = layer['sampling_ratio']
        self.aligned = layer['aligned']
        self.out_channels = out_channels
        self.strides = list(featmap_strides)
        self.finest_scale = finest_scale
        self.first_map = first_map

    def levels(self, boxes: Tensor) -> Tensor:
        """The level [...] of each of `boxes` [..., 4]."""
        side = ((boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])).sqrt()
        level = torch.floor(torch.log2(side / self.finest_scale + 1e-6))
        return level.clamp(0, len(self.strides) - 1).long()

    def forward(self, feats: tuple[Tensor, ...], boxes: Tensor) -> Tensor:
        """Features [B, P, C, 7, 7] of `boxes` [B, P, 4] on the maps of B images."""
        rois, feats = boxes_to_rois(boxes), feats[self.first_map :]
        if len(self.strides) == 1:
            return self._align(feats[0], rois, self.strides[0]).unflatten(0, boxes.shape[:2])
        levels = self.levels(boxes).flatten()
        out = None
        for i, stride in enumerate(self.strides):
            # boxes of other levels become points, of which adaptive sampling takes nothing
            own = levels == i
            aligned = self._align(feats[i], torch.where(own[:, None], rois, rois[:, :1]), stride)
            own = own[:, None, None, None]
            out = aligned * own if out is None else torch.where(own, aligned, out)
        return out.unflatten(0, boxes.shape[:2])

    def _align(self, feat: Tensor, rois: Tensor, stride: int) -> Tensor:
        # float32 also in half precision, which has no room for box coordinates
        feat, size = feat.float(), self.output_size
        return roi_align(feat, rois, size, 1 / stride, self.sampling_ratio, self.aligned)


def boxes_to_rois(boxes: Tensor) -> Tensor:
    """Boxes [B, P, 4] as [B * P, 5] with the number of their image in front."""
    image = torch.arange(len(boxes), device=boxes.device, dtype=boxes.dtype)
    image = image[:, None, None].expand(-1, boxes.shape[1], 1)
    return torch.cat([image, boxes], dim=2).flatten(0, 1)
