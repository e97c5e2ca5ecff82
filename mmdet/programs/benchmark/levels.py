"""Time of the head per pyramid level on a video, with the size prior of an EOVOD and without it.

Both go through the same frames in turns. The first frame, which brings the references, is left out.
"""

import argparse
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator

import torch
from rich.console import Console
from rich.table import Table

from mmdet.apis import VideoDetector
from mmdet.programs.benchmark.machine import describe_machine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', help='of an EOVOD with a size_prior')
    parser.add_argument('video', help='a video file or a folder of images')
    parser.add_argument('--checkpoint', help='without one nothing is found and all levels run')
    parser.add_argument('--frames', type=int, default=40, help='timed; default: %(default)s')
    parser.add_argument('--device', help='default: the GPU if there is one')


def run(args: argparse.Namespace) -> None:
    print(describe_machine())
    detector = VideoDetector(args.config, args.checkpoint, args.device, graphs=False)
    prior = getattr(detector.model, 'size', None)
    if prior is None:
        sys.exit(f'{args.config} has no model.size_prior: there is nothing to compare.')
    head = detector.model.detector.bbox_head
    timers, frames, streams = {}, {}, {}
    for name, size in (('with', prior), ('without', None)):
        detector.model.size = size
        streams[name] = iter(detector.stream(args.video))
        timers[name], frames[name] = LevelTimer(head._level, detector.model), []
    for number in range(args.frames + 1):
        for name, size in (('with', prior), ('without', None)):
            detector.model.size, head._level = size, timers[name]
            start = timers[name].now()
            if next(streams[name], None) is None:
                break
            if number == 0:
                timers[name].clear()
            else:
                frames[name].append(timers[name].now() - start)
    show(head.strides, timers, frames)


class LevelTimer:
    """In place of a head's function of one level: adds up its seconds and counts its calls."""

    def __init__(self, function: Callable, model: torch.nn.Module) -> None:
        self.function = function
        self.on_gpu = next(model.parameters()).is_cuda
        self.clear()

    def clear(self) -> None:
        self.seconds, self.calls = defaultdict(float), defaultdict(int)

    def now(self) -> float:
        if self.on_gpu:
            torch.cuda.synchronize()
        return time.perf_counter()

    def __call__(self, x, cls_x, level: int):
        start = self.now()
        out = self.function(x, cls_x, level)
        self.seconds[level] += self.now() - start
        self.calls[level] += 1
        return out


def show(strides, timers: dict[str, LevelTimer], frames: dict[str, list[float]]) -> None:
    count = len(frames['with'])
    if not count:
        sys.exit('The video has one frame: nothing was timed.')
    table = Table(title=f'Head, mean ms per frame over {count} frames')
    columns = ('level', 'without the size prior', 'with it', 'run on')
    for column in columns:
        table.add_column(column, justify='right')
    for row in rows(strides, timers, count):
        table.add_row(*row)
    Console().print(table)
    whole = {name: statistics.median(times) * 1e3 for name, times in frames.items()}
    mean = {name: statistics.mean(times) * 1e3 for name, times in frames.items()}
    print(
        f'whole frame, median (mean): {whole["without"]:.1f} ({mean["without"]:.1f}) ms without, '
        f'{whole["with"]:.1f} ({mean["with"]:.1f}) ms with'
    )


def rows(strides, timers: dict[str, LevelTimer], count: int) -> Iterator[tuple[str, ...]]:
    def ms(name: str, levels) -> str:
        return f'{sum(timers[name].seconds[i] for i in levels) / count * 1e3:.2f}'

    for level, stride in enumerate(strides):
        share = timers['with'].calls[level] / count
        yield f'stride {stride}', ms('without', [level]), ms('with', [level]), f'{share:.0%}'
    every = range(len(strides))
    yield 'all', ms('without', every), ms('with', every), ''
