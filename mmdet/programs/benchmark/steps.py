"""Training steps on fixed clips in memory, with random weights: time, host waits, memory."""

import argparse
import copy
import resource

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from mmdet.engine.compile import compile_static_parts
from mmdet.plans import make_clip
from mmdet.programs.benchmark.frames import MODES, WAITS, Clock, packed, precision
from mmdet.programs.benchmark.infer import add_model_arguments, model_of
from mmdet.programs.benchmark.machine import describe_machine
from mmdet.programs.benchmark.synthetic import made_up_video
from mmdet.structures import Frame

TRAIN_MODES = ('tf32', 'bf16', 'bf16 graphs')
BOXES = np.array([[0.1, 0.2, 0.4, 0.7], [0.5, 0.1, 0.9, 0.9], [0.3, 0.5, 0.5, 0.8]], np.float32)
SGD = dict(type='SGD', lr=1e-4, momentum=0.9, weight_decay=1e-4)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_arguments(parser)
    parser.add_argument('--steps', type=int, default=3, help='timed; default: %(default)s')
    parser.add_argument('--graphs', action='store_true', help='backbone and neck as CUDA graphs')
    parser.add_argument('--compile', action='store_true', help='torch.compile backbone and neck')


def run(args: argparse.Namespace) -> None:
    model, cfg, size, device = model_of(args)
    mode = args.amp or 'fp32'
    print(describe_machine())
    mode += ' graphs' * args.graphs + ' compiled' * args.compile
    row = measure_step(model, mode, args.batch, size, device, args.steps)
    peak = row['peak_mb'] or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    where = 'on the GPU' if device.type == 'cuda' else 'resident'
    print(
        f'{args.config}: {cfg.model.type}, {mode}, {args.batch} clip(s) {size}: '
        f'{row["ms"] / 1e3:.3f} s per step, peak {peak:.0f} MB {where}'
    )


def measure_training(
    methods, args, size, device, rows: list[dict], failures: list[str]
) -> list[dict]:
    from mmdet.programs.benchmark.gpu import MAIN, METHODS, TOY_METHODS, build

    on_gpu = device.type == 'cuda'
    trained = list(METHODS if on_gpu else TOY_METHODS)[:MAIN]
    for name, method in methods.items():
        if name not in trained:
            continue
        model = build(method, size)
        modes = TRAIN_MODES if name.startswith('MAMBA') else ('bf16',)
        for batch in args.batches:
            for mode in modes if on_gpu else ('fp32',):
                try:
                    row = measure_step(model, mode, batch, size, device, 8 if on_gpu else 1)
                except Exception as error:  # the other rows are still worth having
                    failures.append(f'{name}, training, {mode}, {batch} clip(s): {error!r}')
                    print(f'FAILED: {failures[-1]}', flush=True)
                    continue
                rows.append(dict(method=name, mode=mode, batch=batch, **row))
                print(f'{name}, training, {mode}, {batch} clip(s): {row["ms"]:.0f} ms', flush=True)
                if on_gpu:
                    torch.cuda.empty_cache()
    return rows


def measure_step(model, mode: str, batch: int, size, device, steps: int) -> dict:
    """A training step on `batch` clips of a key frame and the references that the method trains
    with, at full size."""
    from mmengine.registry import init_default_scope

    from mmdet.registry import OPTIM_WRAPPERS, OPTIMIZERS

    init_default_scope('mmdet')
    mode, *parts = mode.split()
    with precision(MODES[mode][1], benchmark=False):
        model = copy.deepcopy(model).to(device).train()
        model.lay_out(mode in ('bf16', 'fp16'), graphs='graphs' in parts)
        if 'compiled' in parts:
            compile_static_parts(model)
        fused = dict(fused=True) if device.type == 'cuda' else {}
        weights = [p for p in model.parameters() if p.requires_grad]
        optimizer = OPTIMIZERS.build(dict(SGD, params=weights, **fused))
        wrapper = dict(type='OptimWrapper', optimizer=optimizer, clip_grad=dict(max_norm=35))
        if mode in ('bf16', 'fp16'):
            wrapper.update(type='AmpOptimWrapper', dtype=mode)
        wrapper = OPTIM_WRAPPERS.build(wrapper)
        clips = training_clips(model, batch, size)
        for _ in range(5 if device.type == 'cuda' else 1):
            model.train_step(clips, wrapper)
        if device.type == 'cuda':
            torch.cuda.reset_peak_memory_stats()
        clock = Clock(device)
        for _ in range(steps):
            model.train_step(clips, wrapper)
        ms = clock.ms() / steps
        peak = torch.cuda.max_memory_allocated() / 2**20 if device.type == 'cuda' else 0.0
        return dict(ms=ms, waits=_waits(model, clips, wrapper, device), peak_mb=peak)


def training_clips(model, count: int, size: tuple[int, int]) -> list:
    """A key frame with three boxes and the references that the method's plan gives it."""
    unit = np.array([size[1], size[0], size[1], size[0]], np.float32)
    refs = 4 if type(model).__name__ == 'STPNSelsa' else 2
    sampler = dict(num_ref_imgs=refs, frame_range=9, method='bilateral_uniform')
    plan = model.plan('train', sampler)
    clips = []
    for i in range(count):
        frames = made_up_video(size, 9, seed=i)

        def frame_of(frame_id: int, video: int = i) -> Frame:
            return Frame(
                str(frame_id), video_id=video, frame_id=frame_id, ori_shape=size, img_shape=size
            )

        clip = packed(make_clip(plan, 4, 9, np.random.default_rng(i), frame_of), frames)
        clip.key.boxes, clip.key.labels = BOXES * unit, np.array([0, 1, 2])
        clips.append(clip)
    return clips


def _waits(model, clips, wrapper, device) -> int:
    """How often the host waits for the GPU in one step."""
    if device.type != 'cuda':
        return 0
    from torch.profiler import ProfilerActivity, profile

    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        model.train_step(clips, wrapper)
    counts = {event.key: event.count for event in profiler.key_averages()}
    return max(sum(counts.get(name, 0) for name in WAITS) - 1, 0)


def show_training(rows: list[dict]) -> None:
    table = Table(title='One training step')
    for column in ('method', 'dtype', 'clips', 'ms', 'waits', 'MiB'):
        table.add_column(column, justify='left' if column == 'method' else 'right')
    for r in rows:
        table.add_row(
            r['method'], r['mode'], str(r['batch']), f'{r["ms"]:.1f}', str(r['waits']),
            f'{r["peak_mb"]:.0f}',
        )  # fmt: skip
    Console(width=120).print(table)
