"""Time of the head per pyramid level on a video, with the size prior of an EOVOD and without it.

Both go through the same frames in turns. The first frame, which brings the references, is left out.
"""

import argparse
import statistics
import sys

from mmdet.apis import VideoDetector
from mmdet.programs.benchmark.timing import Marks, describe_machine, print_table

FRAME = 'whole frame'


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
    device, level_of = next(detector.model.parameters()).device, head._level
    sides = []  # without the prior, with it
    for size in (None, prior):
        detector.model.size = size
        sides.append((size, Marks(device), iter(detector.stream(args.video))))
    for number in range(args.frames + 1):
        for size, marks, stream in sides:
            detector.model.size = size
            head._level = lambda x, cls_x, level, marks=marks: marks.wrap(level, level_of)(
                x, cls_x, level
            )
            found = marks.wrap(FRAME, next)(stream, None)
            if number == 0:
                marks.spans.clear()
            elif found is None:  # the end
                marks.spans[FRAME].pop()
    show(head.strides, *(marks.ms() for _, marks, _ in sides))


def show(strides, without: dict, with_it: dict) -> None:
    """`without`, `with_it`: milliseconds of each call, by level."""
    count = len(with_it.get(FRAME, ()))
    if not count:
        sys.exit('The video has one frame: nothing was timed.')
    rows = []
    for name, levels in (
        *((f'stride {stride}', [i]) for i, stride in enumerate(strides)),
        ('all', range(len(strides))),
    ):
        times = [[ms for i in levels for ms in side.get(i, ())] for side in (without, with_it)]
        share = f'{len(times[1]) / count:.0%}' if name != 'all' else ''
        rows.append((name, *(f'{sum(side) / count:.2f}' for side in times), share))
    columns = ('level', 'without the size prior', 'with it', 'run on')
    print_table(f'Head, mean ms per frame over {count} frames', columns, rows)
    whole = [
        f'{statistics.median(side[FRAME]):.1f} ({statistics.mean(side[FRAME]):.1f}) ms'
        for side in (without, with_it)
    ]
    print(f'{FRAME}, median (mean): {whole[0]} without, {whole[1]} with')
