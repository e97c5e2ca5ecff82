"""Training steps on fixed clips in memory, with random weights: time, host waits, memory."""

import argparse
import copy

import numpy as np
import torch
from mmengine.registry import init_default_scope
from torch import nn

from mmdet.engine.compile import compile_static_parts
from mmdet.programs.benchmark.frames import MODES, planned_clip, precision
from mmdet.programs.benchmark.infer import add_model_arguments, model_of
from mmdet.programs.benchmark.made_up import Size, made_up_video
from mmdet.programs.benchmark.timing import (
    Clock,
    describe_machine,
    host_work,
    resident_peak_mb,
)
from mmdet.registry import OPTIM_WRAPPERS, OPTIMIZERS
from mmdet.structures import Clip

BOXES = np.array([[0.1, 0.2, 0.4, 0.7], [0.5, 0.1, 0.9, 0.9], [0.3, 0.5, 0.5, 0.8]], np.float32)
SGD = dict(type='SGD', lr=1e-4, momentum=0.9, weight_decay=1e-4)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_arguments(parser)
    parser.add_argument('--steps', type=int, default=3, help='timed; default: %(default)s')
    parser.add_argument('--graphs', action='store_true', help='backbone and neck as CUDA graphs')
    parser.add_argument('--compile', action='store_true', help='torch.compile backbone and neck')


def run(args: argparse.Namespace) -> None:
    model, cfg, size, device = model_of(args)
    print(describe_machine())
    mode = (args.amp or 'fp32') + ' graphs' * args.graphs + ' compiled' * args.compile
    row = measure_step(model, mode, args.batch, size, args.steps, device)
    peak = row['peak_mb'] or resident_peak_mb()
    where = 'on the GPU' if device.type == 'cuda' else 'resident'
    print(
        f'{args.config}: {cfg.model.type}, {mode}, {args.batch} clip(s) {size}: '
        f'{row["ms"] / 1e3:.3f} s per step, peak {peak:.0f} MB {where}'
    )


def measure_step(
    model: nn.Module, mode: str, batch: int, size: Size, steps: int, device: torch.device
) -> dict[str, float]:
    """`ms`, `waits` and `peak_mb` of a training step on `batch` clips of a key frame and the
    references that the method trains with.

    Args:
        mode: a key of MODES, then 'graphs', 'compiled' or both.
    """
    init_default_scope('mmdet')
    mode, *parts = mode.split()
    half = mode in ('bf16', 'fp16')
    with precision(MODES[mode][1], benchmark=False):
        model = copy.deepcopy(model).to(device).train()
        model.lay_out(half, graphs='graphs' in parts)
        if 'compiled' in parts:
            compile_static_parts(model)
        weights = [p for p in model.parameters() if p.requires_grad]
        fused = dict(fused=True) if device.type == 'cuda' else {}
        wrapper = dict(type='OptimWrapper', clip_grad=dict(max_norm=35))
        if half:
            wrapper.update(type='AmpOptimWrapper', dtype=mode)
        wrapper['optimizer'] = OPTIMIZERS.build(dict(SGD, params=weights, **fused))
        wrapper = OPTIM_WRAPPERS.build(wrapper)
        clips = training_clips(model, batch, size)
        for _ in range(5 if device.type == 'cuda' else 1):
            model.train_step(clips, wrapper)
        clock = Clock(device)
        for _ in range(steps):
            model.train_step(clips, wrapper)
        ms, peak_mb = clock.ms() / steps, clock.peak_mb()
        _, waits = host_work(lambda: model.train_step(clips, wrapper), device)
    return dict(ms=ms, waits=waits, peak_mb=peak_mb)


def training_clips(model: nn.Module, count: int, size: Size) -> list[Clip]:
    """A key frame with three boxes and the references that the method's plan gives it."""
    unit = np.array([size[1], size[0], size[1], size[0]], np.float32)
    refs = 4 if type(model).__name__ == 'STPNSelsa' else 2
    sampler = dict(num_ref_imgs=refs, frame_range=9, method='bilateral_uniform')
    plan = model.plan('train', sampler)
    clips = [planned_clip(plan, made_up_video(size, 9, seed=i), 4, i) for i in range(count)]
    for clip in clips:
        clip.key.boxes, clip.key.labels = BOXES * unit, np.array([0, 1, 2])
    return clips
