"""Frames of the model of a config, with random weights: the rate at which they are read, the time
that each takes, and that of its stages.

The stages are measured without CUDA graphs and without waiting for the GPU after each; `rest` is
what is in none of them: the region head, suppression, memories.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from rich.console import Console
from rich.table import Table
from torch import nn

import mmdet.models  # noqa: F401
from mmdet.datasets.transforms import Pipeline
from mmdet.engine.config_load import load_config
from mmdet.programs.benchmark.frames import (
    SAMPLER,
    fill_memories,
    measure,
    prepared_video,
    random_weights,
    warm_up,
)
from mmdet.programs.benchmark.machine import describe_machine
from mmdet.programs.benchmark.synthetic import write_frames
from mmdet.programs.commands.flags import add_options
from mmdet.registry import MODELS
from mmdet.structures import Clip, Frame

FRAME_SIZE = (1280, 720)
# of a detector: stage, and the method that is the stage, where it has one
STAGES = {
    'backbone': 'encode',
    'neck': 'feats',
    'proposals': 'propose',
    'head and suppression': 'find',
}
Size = tuple[int, int]


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
    """Model on the CPU, config, (height, width) of its resized frames, and device."""
    device = torch.device(args.device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    cfg = load_config(args.config, args.cfg_options)
    pipeline = Pipeline(cfg.test_dataloader.dataset.pipeline).transforms
    image = np.zeros((*FRAME_SIZE[::-1], 3), np.uint8)
    clip = Clip([Frame('0', image=image, ori_shape=image.shape[:2], img_shape=image.shape[:2])])
    for transform in pipeline[1:]:  # without the loader
        clip = transform(clip, np.random.default_rng(0))
    size = tuple(clip.images.shape[1:3])
    return random_weights(MODELS.build(cfg.model).eval(), size), cfg, size, device


def run(args: argparse.Namespace) -> None:
    model, cfg, size, device = model_of(args)
    mode = args.amp or 'fp32'
    dataset = cfg.test_dataloader.dataset
    print(describe_machine())
    print(f'{args.config}: {cfg.model.type}, {mode}, batch {args.batch}, frames of {size}')
    print(f'reading, one process: {reading_rate(dataset.pipeline, args.frames):.1f} frames/s')
    sampler = dataset.get('ref_img_sampler') or SAMPLER
    row = measure(model, mode, args.batch, size, args.frames, device, sampler)
    stages = stage_times(model, mode, args.batch, size, args.frames, device, sampler)
    table = Table(title=f'per frame; mean of {args.frames} after {warm_up(device)}')
    for column in ('stage', 'ms'):
        table.add_column(column, justify='left' if column == 'stage' else 'right')
    for stage, ms in stages.items():
        table.add_row(stage, f'{ms:.2f}')
    table.add_row('frame, as in testing', f'{row.ms:.2f}', style='bold')
    Console().print(table)
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
    transforms = Pipeline(pipeline).transforms
    with tempfile.TemporaryDirectory() as folder:
        paths = write_frames(Path(folder), min(count, 10), *FRAME_SIZE)
        seconds = []
        for i in range(count + 1):
            clip = Clip([Frame(str(paths[i % len(paths)]))])
            start = time.perf_counter()
            for transform in transforms:
                clip = transform(clip, np.random.default_rng(0))
            seconds.append(time.perf_counter() - start)
    return 1 / statistics.median(seconds[1:])


def stage_times(
    model: nn.Module,
    mode: str,
    batch: int,
    size: Size,
    frames: int,
    device: torch.device,
    sampler: dict,
) -> dict[str, float]:
    """Milliseconds per frame of each stage, mean; `rest` is what is in none of them."""
    made = prepared_video(model, mode, batch, size, frames, device, sampler, graphs=False)
    with made as (model, clips, states):
        for t in range(warm_up(device)):
            model.step_batch(clips(t), states)
            if t == 0:
                fill_memories(states)
        marks = Marks(device)
        marks.attach(model)
        step = marks.wrap('rest', model.step_batch)
        for t in range(warm_up(device), warm_up(device) + frames):
            step(clips(t), states)
        total = marks.milliseconds()
    total['rest'] -= sum(ms for stage, ms in total.items() if stage != 'rest')
    return {stage: ms / frames / batch for stage, ms in total.items()}


class Marks:
    """Notes when functions begin and end: on a GPU in the order of its work, without waiting."""

    def __init__(self, device: torch.device) -> None:
        self.on_gpu = device.type == 'cuda'
        self.spans: dict[str, list[tuple]] = {}

    def attach(self, model: nn.Module) -> None:
        """Mark the stages of a model, in place."""
        detector = getattr(model, 'detector', model)
        model.data_preprocessor.forward = self.wrap('upload', model.data_preprocessor.forward)
        for stage, name in STAGES.items():
            if hasattr(detector, name):
                setattr(detector, name, self.wrap(stage, getattr(detector, name)))
        if hasattr(detector, 'roi_head'):
            detector.roi_head.rows = self.wrap('RoI features', detector.roi_head.rows)

    def wrap(self, stage: str, function: Callable) -> Callable:
        spans = self.spans.setdefault(stage, [])

        def marked(*args, **kwargs):
            begin = self._now()
            result = function(*args, **kwargs)
            spans.append((begin, self._now()))
            return result

        return marked

    def _now(self) -> 'torch.cuda.Event | float':
        if not self.on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def milliseconds(self) -> dict[str, float]:
        """Of each stage, all its calls together."""
        if self.on_gpu:
            torch.cuda.synchronize()
            return {s: sum(a.elapsed_time(b) for a, b in v) for s, v in self.spans.items()}
        return {s: sum(b - a for a, b in v) * 1e3 for s, v in self.spans.items()}
