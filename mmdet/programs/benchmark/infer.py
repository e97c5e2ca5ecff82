"""Frames of the model of a config, with random weights: the rate at which they are read, the time
that each takes, and that of its stages.

The stages are measured without CUDA graphs and without waiting for the GPU after each; `rest` is
what is in none of them: the region head, suppression, memories.
"""

import argparse
import itertools
import tempfile
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from torch import nn

from mmdet.datasets.transforms import Pipeline
from mmdet.engine.config_load import load_config
from mmdet.programs.benchmark.frames import SAMPLER, fill_memories, measure, prepared
from mmdet.programs.benchmark.made_up import Size, build_model, write_frames
from mmdet.programs.benchmark.timing import (
    Marks,
    describe_machine,
    median_seconds,
    print_table,
)
from mmdet.programs.commands.flags import add_options
from mmdet.structures import Clip, Frame

FRAME_SIZE = (720, 1280)
# of a detector: stage, and the method that is the stage, where it has one
STAGES = {
    'backbone': 'encode',
    'neck': 'feats',
    'proposals': 'propose',
    'head and suppression': 'find',
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_arguments(parser)
    parser.add_argument('--frames', type=int, default=10, help='timed; default: %(default)s')


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', help='config file')
    parser.add_argument('--batch', type=int, default=1, help='videos, clips; default: %(default)s')
    parser.add_argument('--amp', choices=('tf32', 'bf16', 'fp16'), help='default: float32')
    parser.add_argument('--device', help='default: the GPU if there is one')
    add_options(parser, '--cfg-options', 'change config keys')


def model_of(args: argparse.Namespace) -> tuple[nn.Module, Config, Size, torch.device]:
    """Model on the CPU, config, size of its resized frames, and device."""
    device = torch.device(args.device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    cfg = load_config(args.config, args.cfg_options)
    image = np.zeros((*FRAME_SIZE, 3), np.uint8)
    clip = Clip([Frame('0', image=image, ori_shape=FRAME_SIZE, img_shape=FRAME_SIZE)])
    without_loader = Pipeline(cfg.test_dataloader.dataset.pipeline).transforms[1:]
    size = tuple(Pipeline(without_loader)(clip, np.random.default_rng(0)).images.shape[1:3])
    return build_model(cfg.model, size), cfg, size, device


def run(args: argparse.Namespace) -> None:
    model, cfg, size, device = model_of(args)
    mode = args.amp or 'fp32'
    dataset = cfg.test_dataloader.dataset
    print(describe_machine())
    print(f'{args.config}: {cfg.model.type}, {mode}, batch {args.batch}, frames of {size}')
    print(f'reading, one process: {reading_rate(dataset.pipeline, args.frames):.1f} frames/s')
    what = (model, mode, args.batch, size, args.frames, device)
    sampler = dataset.get('ref_img_sampler') or SAMPLER
    row = measure(*what, sampler=sampler)
    stages = stage_times(*what, sampler=sampler) | {'frame, as in testing': row.ms}
    rows = [(stage, f'{ms:.2f}') for stage, ms in stages.items()]
    print_table(f'per frame; mean of {args.frames}', ('stage', 'ms'), rows)
    print(
        f'{1e3 / row.ms:.2f} frames/s; backbone, neck and proposal convolutions alone '
        f'{row.limit_ms:.2f} ms; the first frame, with its references, {row.first_ms:.0f} ms'
    )
    if device.type == 'cuda':
        print(
            f'{row.launches:.0f} launches, {row.waits:.1f} waits of the host, {row.peak_mb:.0f} MiB'
        )


def reading_rate(pipeline: list[dict], count: int) -> float:
    """Frames per second that are decoded, resized and packed."""
    load = Pipeline(pipeline)
    with tempfile.TemporaryDirectory() as folder:
        paths = itertools.cycle(write_frames(Path(folder), min(count, 10), FRAME_SIZE))

        def read() -> None:
            load(Clip([Frame(str(next(paths)))]), np.random.default_rng(0))

        return 1 / median_seconds(read, count)[0]


def stage_times(
    model: nn.Module, mode: str, batch: int, size: Size, frames: int, device: torch.device, **more
) -> dict[str, float]:
    """Milliseconds per frame of each stage, mean; `rest` is what is in none of them. Arguments as
    of `prepared`."""
    with prepared(model, mode, batch, size, frames, device, graphs=False, **more) as made:
        for t in range(made.warm_up):
            made.model.step_batch(made.clips(t), made.states)
            if t == 0:
                fill_memories(made.states)
        marks = Marks(device)
        mark_stages(made.model, marks)
        step = marks.wrap('rest', made.model.step_batch)
        for t in range(made.warm_up, made.warm_up + frames):
            step(made.clips(t), made.states)
        total = {stage: sum(times) for stage, times in marks.ms().items()}
    total['rest'] = 2 * total['rest'] - sum(total.values())
    return {stage: ms / frames / batch for stage, ms in total.items()}


def mark_stages(model: nn.Module, marks: Marks) -> None:
    """Mark the stages of a model, in place."""
    detector = getattr(model, 'detector', model)
    places = [('upload', model.data_preprocessor, 'forward')]
    places += [(stage, detector, name) for stage, name in STAGES.items()]
    if hasattr(detector, 'roi_head'):
        places.append(('RoI features', detector.roi_head, 'roi_feats'))
    for stage, owner, name in places:
        if hasattr(owner, name):
            setattr(owner, name, marks.wrap(stage, getattr(owner, name)))
