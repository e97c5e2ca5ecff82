"""Time and memory of training steps on a made-up clip, with random weights and one fixed batch."""

import argparse
import resource
import statistics
import tempfile
import time
from pathlib import Path

import torch

from .infer import COMPILE_HELP, FRAME_SIZE, build_model
from .machine import describe_machine
from .synthetic import planned_refs, training_clip, write_frames


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', help='config file')
    parser.add_argument('--batch', type=int, default=1, help='clips; default: %(default)s')
    parser.add_argument('--steps', type=int, default=3, help='timed; default: %(default)s')
    parser.add_argument('--warmup', type=int, default=1, help='default: %(default)s')
    parser.add_argument('--amp', choices=('bf16', 'fp16'))
    parser.add_argument('--compile', action='store_true', help=COMPILE_HELP)
    parser.add_argument('--device', help='default: the GPU if there is one')
    parser.add_argument('--cfg-options', nargs='+', metavar='KEY=VALUE', default=[])


def run(args: argparse.Namespace) -> None:
    from mmengine.optim import build_optim_wrapper
    from mmengine.registry import init_default_scope

    from mmdet.datasets.transforms import Pipeline
    from mmdet.engine.compile import compile_static_parts
    from mmdet.engine.optim import with_fused

    init_default_scope('mmdet')  # else --amp is mmengine's, which refuses the CPU
    device = torch.device(args.device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    cfg, model = build_model(args.config, args.cfg_options, device)
    model.train()
    if args.compile:
        compile_static_parts(model)
    if args.amp:
        cfg.optim_wrapper.update(type='AmpOptimWrapper', dtype=args.amp)
    optim_wrapper = build_optim_wrapper(model, with_fused(cfg.optim_wrapper))
    sampler = cfg.train_dataloader.dataset.datasets[0].ref_img_sampler
    refs = sampler.num_ref_imgs if sampler else 0
    with tempfile.TemporaryDirectory() as folder:
        paths = write_frames(Path(folder), refs + 1, *FRAME_SIZE)
        pipeline = Pipeline(cfg.test_dataloader.dataset.pipeline).transforms
        plan = planned_refs(model, 'train', sampler, refs // 2, len(paths))  # all other frames
        clips = [training_clip(paths, pipeline, refs // 2, plan) for _ in range(args.batch)]
    print(describe_machine())
    print(
        f'{args.config}: {cfg.model.type}, {args.amp or "fp32"}, {args.batch} clip(s) of '
        f'{refs + 1} frame(s) {tuple(clips[0].images.shape[1:3])}'
        + ', backbone and neck compiled'
        * args.compile
    )
    times = [
        timed_step(model, clips, optim_wrapper, device) for _ in range(args.warmup + args.steps)
    ]
    print(f'median {statistics.median(times[args.warmup :]):.3f} s per step, {memory(device)}')


def timed_step(model, clips, optim_wrapper, device: torch.device) -> float:
    start = time.perf_counter()
    model.train_step(clips, optim_wrapper)
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - start
    print(f'step: {seconds:.3f} s', flush=True)
    return seconds


def memory(device: torch.device) -> str:
    if device.type == 'cuda':
        return f'peak {torch.cuda.max_memory_allocated(device) / 2**20:.0f} MB on the GPU'
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return f'peak {peak:.0f} MB resident'
