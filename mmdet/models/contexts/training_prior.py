"""What stands for the detections of the frame before while EOVOD trains.

Ground truth as it is would teach the head that "enhanced" means "object"; it is then lost on plain
frames (AP 1.3 instead of 50). So some frames get no prior, some boxes are dropped, all are moved,
and some are of nothing.

Shapes: B frames, K objects, D distractors.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mmdet.models.batch import GroundTruth

SMALLEST, LARGEST = 0.05, 0.5  # sides of a distractor, in sides of the image


@dataclass(frozen=True)
class TrainingPrior:
    """How ground truth is degraded.

    plain_prob: a frame has no prior at all. drop_prob: a box is left out. jitter: each side moves
    by up to this part of the box's size. distractors: at most so many random boxes are added.
    """

    plain_prob: float = 0.25
    drop_prob: float = 0.3
    jitter: float = 0.1
    distractors: int = 2

    def boxes(self, gt: GroundTruth, img_shapes: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes [B, K + D, 4] in resized pixels and which of them are any [B, K + D].

        Args:
            img_shapes: [B, 2] (height, width) before padding.
        """
        device = gt.boxes.device
        sizes = (gt.boxes[..., 2:] - gt.boxes[..., :2]).repeat(1, 1, 2)
        moved = gt.boxes + sizes * self.jitter * (2 * torch.rand_like(gt.boxes) - 1)
        kept = gt.valid & (torch.rand(gt.valid.shape, device=device) >= self.drop_prob)
        added, some = self._distractors(img_shapes)
        with_prior = torch.rand(len(gt.boxes), 1, device=device) >= self.plain_prob
        return torch.cat([moved, added], dim=1), torch.cat([kept, some], dim=1) & with_prior

    def _distractors(self, img_shapes: Tensor) -> tuple[Tensor, Tensor]:
        """Random boxes [B, D, 4], of which 0 to D, all equally likely, are used [B, D]."""
        frames, device = len(img_shapes), img_shapes.device
        sides = img_shapes.flip(1)[:, None]  # width, height
        part = torch.rand(frames, self.distractors, 2, device=device)
        size = sides * (SMALLEST + (LARGEST - SMALLEST) * part)
        low = (sides - size) * torch.rand(frames, self.distractors, 2, device=device)
        count = torch.randint(self.distractors + 1, (frames, 1), device=device)
        used = torch.arange(self.distractors, device=device) < count
        return torch.cat([low, low + size], dim=-1), used
