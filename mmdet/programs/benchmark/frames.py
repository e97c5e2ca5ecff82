"""Measuring a model over frames that are in memory already: speed, agreement, launches, waits."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mmdet.core.errors import ConfigError
from mmdet.models.static import StaticPart
from mmdet.models.task_modules import box_iou
from mmdet.plans import make_clip
from mmdet.programs.benchmark.made_up import Size, made_up_video
from mmdet.programs.benchmark.timing import Clock, host_work
from mmdet.structures import Clip, Detections, Frame

MODES = {
    'fp32': (torch.float32, False),
    'tf32': (torch.float32, True),
    'bf16': (torch.bfloat16, True),
    'fp16': (torch.float16, True),
}
SAMPLER = dict(num_ref_imgs=14, frame_range=[-7, 7], method='test_with_adaptive_stride')


@contextmanager
def precision(tf32: bool, benchmark: bool = True) -> Iterator[None]:
    """Matrix products and convolutions of float32 in TF32, or not; cuDNN tries its algorithms."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = benchmark
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def planned_clip(plan, frames: Tensor, frame_id: int, number: int) -> Clip:
    """The clip that a plan makes of a frame of a made-up video, with its images, each once."""
    shape = tuple(frames.shape[1:3])

    def frame_of(i: int) -> Frame:
        return Frame(
            str(i), image_id=i, video_id=number, frame_id=i, video_length=len(frames),
            ori_shape=shape, img_shape=shape,
        )  # fmt: skip

    clip = make_clip(plan, frame_id, len(frames), np.random.default_rng(number), frame_of)
    ids = [frame.frame_id for frame in clip.frames]
    distinct = list(dict.fromkeys(ids))
    clip.rows = [distinct.index(i) for i in ids]
    clip.images = frames[ids[0]][None] if len(distinct) == 1 else frames[distinct]
    return clip


@dataclass
class Prepared:
    """A copy of a model, ready for testing, and `batch` made-up videos with their states."""

    model: nn.Module
    clips: Callable[[int], list[Clip]]  # of a frame of all videos
    states: list
    warm_up: int  # frames before the timed ones


@contextmanager
def prepared(
    model: nn.Module,
    mode: str,
    batch: int,
    size: Size,
    steps: int,
    device: torch.device,
    sampler: dict = SAMPLER,
    graphs: bool = True,
) -> Iterator[Prepared]:
    """For the functions below.

    Args:
        model: with weights, on the CPU; it is not changed.
        size: of the resized frames.
        steps: frames of each video that are timed.
        sampler: of the references, for a method that takes one.
    """
    dtype, tf32 = MODES[mode]
    # on a GPU so many that every part is recorded, also those of a size prior's partial frames
    warm_up = 27 if device.type == 'cuda' else 9
    try:
        plan = model.plan('offline', sampler)
    except ConfigError:  # the method chooses its frames itself
        plan = model.plan('offline', None)
    length = warm_up + 1 + steps + (plan.lookahead if plan is not None else 0)
    videos = [made_up_video(size, length, seed=i) for i in range(batch)]
    with precision(tf32):
        model = copy.deepcopy(model).to(device)
        model.prepare(dtype, graphs=graphs)
        states = [model.init_state(video_id=i) for i in range(batch)]

        def clips(frame_id: int) -> list[Clip]:
            return [planned_clip(plan, v, frame_id, i) for i, v in enumerate(videos)]

        yield Prepared(model, clips, states, warm_up)
        model._forget_graphs()


@dataclass
class Measured:
    """One row of the table."""

    ms: float
    first_ms: float
    launches: float
    waits: float
    peak_mb: float
    limit_ms: float
    found: list[Detections]


def measure(
    model: nn.Module, mode: str, batch: int, size: Size, steps: int, device: torch.device, **more
) -> Measured:
    """Speed of `batch` videos at once, results read one batch late; arguments as of `prepared`."""
    with prepared(model, mode, batch, size, steps, device, **more) as made:
        model, clips, states = made.model, made.clips, made.states
        clock = Clock(device)
        model.step_batch(clips(0), states)
        first_ms = clock.ms()
        found = [d for t in range(1, 7) for d in model.step_batch(clips(t), states)]
        fill_memories(states)
        for t in range(7, made.warm_up):
            model.step_batch(clips(t), states)
        *timed, last = [clips(made.warm_up + t) for t in range(steps + 1)]
        clock = Clock(device)
        running = None
        for batch_of_clips in timed:
            started = model.start(batch_of_clips, states)
            if running is not None:
                running.get()
            running = started
        running.get()
        ms = clock.ms() / steps
        pending = []
        launches, waits = host_work(lambda: pending.append(model.start(last, states)), device)
        if pending:
            pending[0].get()
        peak_mb, limit_ms = clock.peak_mb(), static_limit(model, last, device)
    per_frame = [x / batch for x in (launches, waits)]
    return Measured(ms / batch, first_ms, *per_frame, peak_mb, limit_ms / batch, found)


@torch.inference_mode()
def fill_memories(states: list) -> None:
    """Bring every memory to its cap, where reads and writes cost most."""
    for state in states:
        for context in state.contexts.values():
            bank = getattr(context, 'bank', context)
            if hasattr(bank, 'max_length'):
                rows = bank.rows.clone()
                for _ in range(bank.max_length // rows.shape[1] + 1):
                    valid = torch.ones(rows.shape[1], dtype=torch.bool, device=rows.device)
                    bank.write(rows, valid)


@torch.inference_mode()
def static_limit(model: nn.Module, clips: list, device: torch.device) -> float:
    """Milliseconds of backbone, neck and the proposal network's convolutions alone, as a graph."""
    detector = getattr(model, 'detector', model)
    batch = model.data_preprocessor([Clip(c.frames[:1], c.images[:1]) for c in clips])['batches'][0]

    def convolutions(images: Tensor) -> tuple[Tensor, ...]:
        feats = detector.feats(detector.encode(images))
        if not hasattr(detector, 'rpn_head'):
            return tuple(feats)
        logits, deltas = detector.rpn_head(feats)
        return (*logits, *deltas)

    part = StaticPart(convolutions) if model.graphs else convolutions
    warm_up, repeats = (3, 20) if device.type == 'cuda' else (0, 1)
    for i in range(warm_up + repeats):
        if i == warm_up:
            clock = Clock(device)
        part(batch.images)
    return clock.ms() / repeats


def agreement(expected: list[Detections], found: list[Detections]) -> float:
    """The share of detections of which the other side has one of the same class, with an IoU above
    0.9 and a score within 0.02."""
    total = hit = 0
    for a, b in zip(expected, found, strict=True):
        same = a.labels[:, None] == b.labels
        near = (a.scores[:, None] - b.scores).abs() < 0.02
        total += len(a)
        hit += int((same & near & (box_iou(a.boxes, b.boxes) > 0.9)).any(dim=1).sum())
    return hit / max(total, 1)
