"""Measuring a model over frames that are in memory already: speed, agreement, launches, waits."""

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mmdet.core.errors import ConfigError
from mmdet.plans import make_clip
from mmdet.programs.benchmark.synthetic import made_up_video
from mmdet.structures import Clip, Detections, Frame

MODES = {
    'fp32': (torch.float32, False),
    'tf32': (torch.float32, True),
    'bf16': (torch.bfloat16, True),
    'fp16': (torch.float16, True),
}
SAMPLER = dict(num_ref_imgs=14, frame_range=[-7, 7], method='test_with_adaptive_stride')
# what the host does for a GPU, by the names that the profiler shows
LAUNCHES = ('cudaLaunchKernel', 'cuLaunchKernel', 'cudaLaunchKernelExC', 'cudaGraphLaunch')
WAITS = ('cudaStreamSynchronize', 'cudaDeviceSynchronize', 'cudaEventSynchronize')


def random_weights(model: nn.Module, size: tuple[int, int], seed: int = 0) -> nn.Module:
    """Weights with which scores and boxes vary, as those of a trained model do: some hundred
    candidates, some dozen sure detections.

    Args:
        size: (height, width) of the frames that the model will see.
    """
    torch.manual_seed(seed)
    for name, weight in model.named_parameters():
        if name.endswith(('rpn_cls.weight', 'fc_cls.weight')):
            nn.init.normal_(weight, std=0.1)
        elif name.endswith(('rpn_reg.weight', 'fc_reg.weight')):
            nn.init.normal_(weight, std=0.02)
        elif name.endswith('bbox_head.conv_cls.weight'):
            nn.init.normal_(weight, std=0.06)
        elif name.endswith('bbox_head.conv_reg.bias'):
            nn.init.constant_(weight, 3.0)  # boxes of some 40 pixels
        elif 'multi_level_conv_' in name and name.endswith('weight'):
            nn.init.normal_(weight, std=0.03 if '_reg' in name else 0.1)
        elif 'multi_level_conv_' in name and '_reg' not in name:
            nn.init.constant_(weight, -2.5)
        elif name.endswith(('bn2.weight', 'bn3.weight')):  # zero at the start of training
            nn.init.constant_(weight, 0.5)
    _settle_norms(model, size)
    return model


@torch.no_grad()
def _settle_norms(model: nn.Module, size: tuple[int, int]) -> None:
    """Statistics of the batch norms from one image: with those of the start, activations vanish or
    grow from layer to layer."""
    detector = getattr(model, 'detector', model)
    norms = [m for m in detector.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [(norm.momentum, norm.eps) for norm in norms]
    for norm in norms:
        norm.momentum, norm.eps = 1.0, max(norm.eps, 1e-5)  # caffe's has 0
        norm.train()
    frame = Frame('0', video_length=1, ori_shape=size, img_shape=size)
    batch = model.data_preprocessor([Clip([frame], made_up_video(size, 1))])['batches'][0]
    feats = detector.feats(detector.encode(batch.images))
    look = detector.find if hasattr(detector, 'find') else detector.propose
    look(feats, batch.img_shapes)
    for norm, settings in zip(norms, before, strict=True):
        norm.momentum, norm.eps = settings
        norm.running_var.clamp_(min=1e-5)
        norm.eval()


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


class PlannedVideo:
    """A made-up video and the clips that a method's offline plan makes of it."""

    def __init__(
        self, model: nn.Module, number: int, size: tuple[int, int], length: int, sampler: dict
    ) -> None:
        try:
            self.plan = model.plan('offline', sampler)
        except ConfigError:  # the method chooses its frames itself
            self.plan = model.plan('offline', None)
        ahead = self.plan.lookahead if self.plan is not None else 0
        self.number, self.frames = number, made_up_video(size, length + ahead, seed=number)

    def clip(self, frame_id: int) -> Clip:
        clip = make_clip(
            self.plan, frame_id, len(self.frames), np.random.default_rng(0), self._frame
        )
        return packed(clip, self.frames)

    def _frame(self, frame_id: int) -> Frame:
        shape = tuple(self.frames.shape[1:3])
        return Frame(
            str(frame_id), image_id=frame_id, video_id=self.number, frame_id=frame_id,
            video_length=len(self.frames), ori_shape=shape, img_shape=shape,
        )  # fmt: skip


def packed(clip: Clip, frames: Tensor) -> Clip:
    """The clip with its images, each once, out of the frames of a video."""
    ids = [frame.frame_id for frame in clip.frames]
    distinct = list(dict.fromkeys(ids))
    clip.rows = [distinct.index(i) for i in ids]
    clip.images = frames[ids[0]][None] if len(distinct) == 1 else frames[distinct]
    return clip


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
    model: nn.Module,
    mode: str,
    batch: int,
    size: tuple[int, int],
    steps: int,
    device: torch.device,
    sampler: dict = SAMPLER,
) -> Measured:
    """Speed of `batch` videos at once.

    Args:
        model: with weights, on the CPU; it is not changed.
        size: of the resized frames, (height, width).
        steps: frames of each video that are timed.
        sampler: of the references, for a method that takes one.
    """
    with prepared_video(model, mode, batch, size, steps, device, sampler) as (model, clips, states):
        start = time.perf_counter()
        model.step_batch(clips(0), states)
        first_ms = (time.perf_counter() - start) * 1e3
        found = [d for t in range(1, 7) for d in model.step_batch(clips(t), states)]
        fill_memories(states)
        first = warm_up(device)
        for t in range(7, first):
            model.step_batch(clips(t), states)
        if device.type == 'cuda':
            torch.cuda.reset_peak_memory_stats()
        timed = [clips(t) for t in range(first, first + steps)]
        ms = _ms_per_frame(model, timed, states, device)
        last = clips(first + steps)
        launches, waits = _host_work(model, last, states, device)
        peak = torch.cuda.max_memory_allocated() / 2**20 if device.type == 'cuda' else 0.0
        limit = static_limit(model, last, device) / batch
    return Measured(ms / batch, first_ms, launches / batch, waits / batch, peak, limit, found)


def warm_up(device: torch.device) -> int:
    """Frames before the timed ones: on a GPU so many that every part is recorded, also those of a
    size prior's partial frames."""
    return 27 if device.type == 'cuda' else 9


@contextmanager
def prepared_video(
    model: nn.Module,
    mode: str,
    batch: int,
    size: tuple[int, int],
    steps: int,
    device: torch.device,
    sampler: dict,
    graphs: bool = True,
) -> Iterator[tuple[nn.Module, Callable[[int], list[Clip]], list]]:
    """A copy of the model, ready for testing in that precision; what gives the clips of a frame of
    all videos; and their states."""
    dtype, tf32 = MODES[mode]
    with precision(tf32):
        model = copy.deepcopy(model).to(device)
        model.prepare(dtype, graphs=graphs)
        length = warm_up(device) + 1 + steps
        videos = [PlannedVideo(model, i, size, length, sampler) for i in range(batch)]
        states = [model.init_state(video_id=i) for i in range(batch)]
        yield model, lambda t: [video.clip(t) for video in videos], states
        model._forget_graphs()


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


def _ms_per_frame(model: nn.Module, batches: list, states: list, device: torch.device) -> float:
    """Milliseconds per batch, results read one batch late."""
    clock = Clock(device)
    running = None
    for clips in batches:
        started = model.start(clips, states)
        if running is not None:
            running.get()
        running = started
    running.get()
    return clock.ms() / len(batches)


class Clock:
    """Milliseconds since it was made: of the GPU, where there is one."""

    def __init__(self, device: torch.device) -> None:
        self.events = None
        if device.type == 'cuda':
            torch.cuda.synchronize()
            self.events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
            self.events[0].record()
        self.start = time.perf_counter()

    def ms(self) -> float:
        if self.events is None:
            return (time.perf_counter() - self.start) * 1e3
        self.events[1].record()
        self.events[1].synchronize()
        return self.events[0].elapsed_time(self.events[1])


def _host_work(model, clips: list, states: list, device: torch.device) -> tuple[float, float]:
    """Launches of one batch and how often the host waits before it asks for the results."""
    if device.type != 'cuda':
        return 0.0, 0.0
    from torch.profiler import ProfilerActivity, profile

    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        pending = model.start(clips, states)
    pending.get()
    counts = {e.key: e.count for e in profiler.key_averages()}
    waits = sum(counts.get(name, 0) for name in WAITS) - 1  # the profiler's own, when it ends
    return sum(counts.get(name, 0) for name in LAUNCHES), max(waits, 0)


@torch.inference_mode()
def static_limit(model: nn.Module, clips: list, device: torch.device) -> float:
    """Milliseconds of backbone, neck and the proposal network's convolutions alone, as a graph."""
    from mmdet.models.static import StaticPart

    detector = getattr(model, 'detector', model)
    batch = model.data_preprocessor([Clip(c.frames[:1], c.images[:1]) for c in clips])['batches'][0]

    def convolutions(images: Tensor) -> tuple[Tensor, ...]:
        feats = detector.feats(detector.encode(images))
        if not hasattr(detector, 'rpn_head'):
            return tuple(feats)
        logits, deltas = detector.rpn_head(feats)
        return (*logits, *deltas)

    part = StaticPart(convolutions) if model.graphs else convolutions
    repeats = 20 if device.type == 'cuda' else 1
    for _ in range(3 if device.type == 'cuda' else 0):
        part(batch.images)
    clock = Clock(device)
    for _ in range(repeats):
        part(batch.images)
    return clock.ms() / repeats


def agreement(expected: list[Detections], found: list[Detections]) -> float:
    """The share of detections of which the other side has one of the same class, with an IoU above
    0.9 and a score within 0.02."""
    from mmdet.models.task_modules import box_iou

    total = hit = 0
    for a, b in zip(expected, found, strict=True):
        same = a.labels[:, None] == b.labels
        near = (a.scores[:, None] - b.scores).abs() < 0.02
        total += len(a)
        hit += int((same & near & (box_iou(a.boxes, b.boxes) > 0.9)).any(dim=1).sum())
    return hit / max(total, 1)
