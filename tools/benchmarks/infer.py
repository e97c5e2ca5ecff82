"""Time per frame of a model on a made-up video, stage by stage, with random weights.

The unit that makes machines comparable is the time of the same backbone, run plainly in float32.
`first frame` is the one that brings the references of a video.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from .machine import describe_machine
from .synthetic import planned_refs, video_clip, write_frames

STAGES = ('decode', 'resize', 'pack', 'transfer', 'backbone', 'neck', 'RPN', 'RoI', 'post')
FRAME_SIZE = (1280, 720)
COMPILE_HELP = 'torch.compile the parts of fixed structure: backbone and neck'


class StageTimer:
    """Adds up the seconds spent in wrapped functions; waits for the GPU where there is one."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds = dict.fromkeys(STAGES, 0.0)

    def now(self) -> float:
        if self.device.type == 'cuda':
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def wrap(self, stage: str, function: Callable) -> Callable:
        def timed(*args, **kwargs):
            start = self.now()
            result = function(*args, **kwargs)
            self.seconds[stage] += self.now() - start
            return result

        return timed

    def attach(self, model: torch.nn.Module) -> None:
        detector = getattr(model, 'detector', model)
        for owner, name, stage in (
            (model.data_preprocessor, 'forward', 'transfer'),
            (detector.backbone, 'forward', 'backbone'),
            *([(detector.neck, 'forward', 'neck')] if detector.neck is not None else []),
            (detector, 'propose', 'RPN'),
            (detector.roi_head, 'detections', 'post'),
        ):
            setattr(owner, name, self.wrap(stage, getattr(owner, name)))

    @contextmanager
    def frame(self) -> Iterator[dict[str, float]]:
        """Seconds per stage of what runs inside, and their `total`; RoI is what remains of it."""
        self.seconds = dict.fromkeys(STAGES, 0.0)
        result: dict[str, float] = {}
        start = self.now()
        yield result
        total = self.now() - start
        self.seconds['RoI'] = total - sum(self.seconds.values())
        result.update(self.seconds, total=total)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', help='config file')
    parser.add_argument('--frames', type=int, default=10, help='timed; default: %(default)s')
    parser.add_argument('--warmup', type=int, default=3, help='default: %(default)s')
    parser.add_argument('--amp', choices=('bf16', 'fp16'))
    parser.add_argument('--compile', action='store_true', help=COMPILE_HELP)
    parser.add_argument('--device', help='default: the GPU if there is one')
    parser.add_argument('--cfg-options', nargs='+', metavar='KEY=VALUE', default=[])


def run(args: argparse.Namespace) -> None:
    from mmdet.engine.compile import compile_static_parts
    from mmdet.engine.optim import autocast

    device = torch.device(args.device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    cfg, model = build_model(args.config, args.cfg_options, device)
    print(describe_machine())
    dataset = cfg.test_dataloader.dataset
    print(
        f'{args.config}: {cfg.model.type}, {args.amp or "fp32"}, batch 1, video {FRAME_SIZE}'
        + ', backbone and neck compiled' * args.compile
    )
    timer = StageTimer(device)
    with tempfile.TemporaryDirectory() as folder:
        sampler, count = dataset.get('ref_img_sampler'), args.warmup + args.frames + 1
        plan = model.plan('offline', sampler)
        ahead = plan.lookahead if plan is not None else 0  # no frame at the end of the video
        paths = write_frames(Path(folder), count + ahead, *FRAME_SIZE)
        images = None
        pipeline = timed_pipeline(dataset.pipeline, timer)
        refs = [planned_refs(model, 'offline', sampler, i, len(paths)) for i in range(count)]
        unit, images = backbone_unit(model, pipeline, paths, timer)
        if args.compile:
            compile_static_parts(model)
        timer.attach(model)
        with autocast(args.amp, device):
            first = run_video(model, pipeline, paths, refs, timer)
    size, number = tuple(images.shape[-2:]), len(refs[0])
    print(f'padded input {size}, {number} references, torch default threads')
    show(first[0], first[1 + args.warmup :], unit)


def build_model(config: str, options: list[str], device: torch.device):
    """Config and model in eval mode with random weights."""
    from mmengine.config import Config

    from mmdet.registry import MODELS

    cfg = Config.fromfile(config)
    cfg.merge_from_dict(dict(option.split('=', 1) for option in options))
    torch.manual_seed(0)
    return cfg, MODELS.build(cfg.model).to(device).eval()


def timed_pipeline(configs: list[dict], timer: StageTimer) -> list[Callable]:
    """The transforms of a test pipeline, the first two of which are timed by name."""
    from mmdet.datasets.transforms import Pipeline

    names = ['decode', 'resize'] + ['pack'] * len(configs)
    transforms = Pipeline(configs).transforms
    return [timer.wrap(name, t) for name, t in zip(names, transforms, strict=False)]


def load(pipeline: list[Callable], clip):
    for transform in pipeline:
        clip = transform(clip, np.random.default_rng(0))
    return clip


def run_video(model, pipeline, paths, refs, timer: StageTimer) -> list[dict[str, float]]:
    """Seconds per stage of every frame of one video.

    Args:
        refs: what comes with each of them.
    """
    state = model.init_state(video_id=1)
    frames = []
    for i, own in enumerate(refs):
        with timer.frame() as seconds:
            clip = load(pipeline, video_clip(paths, i, own))
            _, state = model.step(clip, state)
        frames.append(seconds)
        print(f'\rframe {i + 1}/{len(refs)}: {seconds["total"]:.2f} s', end='', flush=True)
    print()
    return frames


@torch.inference_mode()
def backbone_unit(model, pipeline, paths, timer: StageTimer, repeats: int = 5):
    """Median seconds of the backbone on one frame, contiguous float32 input; and that input."""
    clip = load(pipeline, video_clip(paths, 0))
    images = model.data_preprocessor([clip])['batches'][0].images.contiguous()
    backbone = getattr(model, 'detector', model).backbone
    times = []
    for _ in range(repeats + 1):
        start = timer.now()
        backbone(images)
        times.append(timer.now() - start)
    return statistics.median(times[1:]), images


def show(first: dict[str, float], frames: list[dict[str, float]], unit: float) -> None:
    table = Table(title=f'median of {len(frames)} frames; unit = plain fp32 backbone {unit:.3f} s')
    for column in ('stage', 'ms per frame', 'units', 'first frame, ms'):
        table.add_column(column, justify='left' if column == 'stage' else 'right')
    for stage in (*STAGES, 'total'):
        seconds = statistics.median(frame[stage] for frame in frames)
        row = (f'{seconds * 1e3:.1f}', f'{seconds / unit:.3f}', f'{first[stage] * 1e3:.0f}')
        table.add_row(stage, *row, style='bold' if stage == 'total' else '')
    Console().print(table)
    total = statistics.median(frame['total'] for frame in frames)
    print(f'{1 / total:.2f} frames/s end to end')
