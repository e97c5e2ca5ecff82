"""Greedy suppression in one kernel per batch, written in Triton, which comes with PyTorch for CUDA.

torchvision's operator builds the mask of all pairs, walks it in one block, and then makes the host
wait for the number of boxes it kept. This one takes boxes in chunks, best first, compares each
chunk with what is kept so far and with itself, and stops when enough is kept.
"""

import logging
from functools import lru_cache

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # builds of PyTorch without CUDA
    triton = None

CHUNK = 64  # candidates at a time
BLOCK = 128  # kept boxes that a chunk is compared with at a time

if triton is not None:

    @triton.jit
    def _overlaps(ax1, ay1, ax2, ay2, bx1, by1, bx2, by2, threshold):
        """Which boxes a and b (of shapes that broadcast) have an IoU above the threshold.

        Every operation is rounded on its own, as torchvision's CPU operator does.
        """
        width = tl.maximum(tl.minimum(ax2, bx2) - tl.maximum(ax1, bx1), 0.0)
        height = tl.maximum(tl.minimum(ay2, by2) - tl.maximum(ay1, by1), 0.0)
        inter = width * height
        union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - inter
        return tl.math.div_rn(inter, union) > threshold

    @triton.jit
    def _greedy_kernel(
        boxes, valid, ends, kept_boxes, indices, counts, num_boxes, threshold,
        MAX_KEEP: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr,
    ):  # fmt: skip
        image = tl.program_id(0)
        boxes += image * num_boxes * 4
        valid += image * num_boxes
        kept_boxes += image * MAX_KEEP * 4
        indices += image * MAX_KEEP
        lane = tl.arange(0, CHUNK)
        earlier = lane[:, None] < lane[None, :]
        end = tl.load(ends + image)  # behind the last box that exists
        count = 0
        start = 0
        while (start < end) & (count < MAX_KEEP):
            at = start + lane
            inside = at < end
            x1 = tl.load(boxes + at * 4, mask=inside, other=0.0)
            y1 = tl.load(boxes + at * 4 + 1, mask=inside, other=0.0)
            x2 = tl.load(boxes + at * 4 + 2, mask=inside, other=0.0)
            y2 = tl.load(boxes + at * 4 + 3, mask=inside, other=0.0)
            alive = tl.load(valid + at, mask=inside, other=0).to(tl.int32)
            first = 0
            while first < count:
                k = first + tl.arange(0, BLOCK)
                known = k < count
                kx1 = tl.load(kept_boxes + k * 4, mask=known, other=0.0)
                ky1 = tl.load(kept_boxes + k * 4 + 1, mask=known, other=0.0)
                kx2 = tl.load(kept_boxes + k * 4 + 2, mask=known, other=0.0)
                ky2 = tl.load(kept_boxes + k * 4 + 3, mask=known, other=0.0)
                over = _overlaps(
                    x1[:, None], y1[:, None], x2[:, None], y2[:, None],
                    kx1[None, :], ky1[None, :], kx2[None, :], ky2[None, :], threshold,
                )  # fmt: skip
                hit = tl.where(over & known[None, :], 1, 0)
                alive = alive * (1 - tl.max(hit, axis=1))
                first += BLOCK
            over = _overlaps(
                x1[:, None], y1[:, None], x2[:, None], y2[:, None],
                x1[None, :], y1[None, :], x2[None, :], y2[None, :], threshold,
            )  # fmt: skip
            over = tl.where(over & earlier, 1, 0)
            # keep = alive and not suppressed by a kept, earlier one: repeated until it holds, which
            # settles at least one more box each time
            keep = alive
            changed = 1
            while changed > 0:
                suppressed = tl.max(over * keep[:, None], axis=0)
                settled = alive * (1 - suppressed)
                changed = tl.sum(tl.abs(settled - keep), axis=0)
                keep = settled
            place = count + tl.cumsum(keep, axis=0) - 1
            chosen = (keep > 0) & (place < MAX_KEEP)
            tl.store(indices + place, at.to(tl.int64), mask=chosen)
            tl.store(kept_boxes + place * 4, x1, mask=chosen)
            tl.store(kept_boxes + place * 4 + 1, y1, mask=chosen)
            tl.store(kept_boxes + place * 4 + 2, x2, mask=chosen)
            tl.store(kept_boxes + place * 4 + 3, y2, mask=chosen)
            tl.debug_barrier()  # what one thread stored, others load in the next round
            count += tl.sum(keep, axis=0)
            start += CHUNK
        tl.store(counts + image, tl.minimum(count, MAX_KEEP).to(tl.int64))


def greedy_nms(
    boxes: Tensor, valid: Tensor, iou_threshold: float, max_keep: int
) -> tuple[Tensor, Tensor]:
    """As `sorted_nms` in nms.py; nothing waits for the host."""
    images, num_boxes, _ = boxes.shape
    boxes = boxes.float().contiguous()
    valid = valid.to(torch.uint8).contiguous()
    ends = (valid * torch.arange(1, num_boxes + 1, device=boxes.device)).amax(1)
    kept = boxes.new_empty(images, max_keep, 4)
    indices = torch.zeros(images, max_keep, dtype=torch.long, device=boxes.device)
    counts = torch.zeros(images, dtype=torch.long, device=boxes.device)
    # without fused multiply-adds, which would round otherwise than the operator on a CPU
    _greedy_kernel[(images,)](
        boxes, valid, ends, kept, indices, counts, num_boxes, _float32_below(iou_threshold),
        MAX_KEEP=max_keep, CHUNK=CHUNK, BLOCK=BLOCK, num_warps=8, enable_fp_fusion=False,
    )  # fmt: skip
    used = torch.arange(max_keep, device=boxes.device) < counts[:, None]
    return indices, used


def _float32_below(threshold: float) -> float:
    """The float32 above which exactly those float32 IoUs lie that are above the float64 number."""
    rounded = np.float32(threshold)
    return float(rounded if float(rounded) <= threshold else np.nextafter(rounded, np.float32(-1)))


def usable(device: torch.device) -> bool:
    """Whether the kernel runs on `device`."""
    return device.type == 'cuda' and triton is not None and _compiles(device)


@lru_cache
def _compiles(device: torch.device) -> bool:
    """Triton needs a C compiler on the machine the first time."""
    try:
        boxes = torch.zeros(1, 1, 4, device=device)
        greedy_nms(boxes, torch.ones(1, 1, dtype=torch.bool, device=device), 0.5, 1)
    except Exception as error:
        print_log(
            f'Triton does not work here ({str(error).splitlines()[0] if str(error) else error!r}): '
            f'suppression waits for the host, and frames are not captured as CUDA graphs. A C '
            f'compiler (gcc) is needed once.',
            logger='current',
            level=logging.WARNING,
        )
        return False
    return True
