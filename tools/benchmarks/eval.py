"""How fast results are scored: frames per second of both protocols, and the memory it takes.

The frames are made up: 1.7 objects each on average (ImageNet VID val has 1.55), half of the
detections of the class of an object in the frame. The evaluator of vfe.pytorch 1.x, which computes
AP50 (VID) alone, takes 2.7 to 5.1 s for 2,000 frames with 18 detections each on 2 cores of a server
CPU: 390 to 740 frames/s.
"""

import argparse
import resource
import statistics
import time
from collections.abc import Callable

import numpy as np

from .machine import describe_machine

ORIGINAL_FPS = (2000 / 5.1, 2000 / 2.7)
CLASSES = 30
WIDTH, HEIGHT = 1280, 720


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--frames', type=int, default=20_000, help='default: %(default)s')
    parser.add_argument(
        '--boxes', type=int, default=90, help='detections per frame; default: %(default)s'
    )
    parser.add_argument('--repeats', type=int, default=3, help='default: %(default)s')
    parser.add_argument(
        '--skip-coco', action='store_true', help='AP50 (VID) alone, as the original'
    )


def run(args: argparse.Namespace) -> None:
    from mmdet.evaluation.coco import coco_ap
    from mmdet.evaluation.vid_ap import vid_ap

    print(describe_machine())
    print(f'{args.frames:,} frames with {args.boxes} detections each; median of {args.repeats}')
    detections, truth = made_up_results(args.frames, args.boxes)
    print(f'{"":28}     wall      CPU     frames/s   peak memory (now {peak_memory_mb():.0f} MB)')
    wall = _measure('AP50 (VID), 4 speed ranges', lambda: vid_ap(detections, truth), args)
    fast, slow = (args.frames / wall / fps for fps in ORIGINAL_FPS)
    print(f'{"":28} {slow:.0f} to {fast:.0f} times the frames/s of 1.x')
    if not args.skip_coco:
        _measure('AP (COCO)', lambda: coco_ap(detections, truth), args)


def _measure(what: str, function: Callable[[], object], args: argparse.Namespace) -> float:
    """Call, print, and give the median wall time in seconds; the first call does not count."""
    walls, cpus = [], []
    for _ in range(1 + args.repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        function()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    wall, cpu = statistics.median(walls[1:]), statistics.median(cpus[1:])
    rate = f'{args.frames / wall:12,.0f}'
    print(f'{what:28} {wall:6.2f} s {cpu:6.2f} s {rate} {peak_memory_mb():10.0f} MB')
    return wall


def peak_memory_mb() -> float:
    """Highest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # kB on Linux


def made_up_results(frames: int, boxes: int, seed: int = 0):
    """Detections and ground truth of frames in which detections crowd around the objects."""
    from mmdet.evaluation.ground_truth import GroundTruth
    from mmdet.evaluation.results import DetectionArrays

    rng = np.random.default_rng(seed)
    counts = np.minimum(rng.geometric(0.6, frames), 20)
    image = np.repeat(np.arange(frames), counts)
    first = np.cumsum(counts) - counts
    sides = rng.uniform(30, 400, (len(image), 2))
    corner = rng.uniform(0, [WIDTH - 30, HEIGHT - 30], (len(image), 2))
    gt_boxes = np.concatenate([corner, corner + sides], axis=1).astype(np.float32)
    label = rng.integers(0, CLASSES, frames)[image]  # the objects of a frame are mostly alike
    truth = GroundTruth(
        image_ids=np.arange(1, frames + 1),
        classes=tuple(f'class {c}' for c in range(CLASSES)),
        category_ids=tuple(range(1, CLASSES + 1)),
        image=image,
        label=label,
        boxes=gt_boxes,
        area=sides.prod(axis=1),
        crowd=np.zeros(len(image), bool),
        motion=rng.beta(4, 1, len(image)),
    )
    det_image = np.repeat(np.arange(frames), boxes)
    near = first[det_image] + rng.integers(0, counts[det_image])
    spread = rng.choice([8.0, 100.0, 300.0], (len(det_image), 1), p=[0.04, 0.26, 0.7])
    det_boxes = gt_boxes[near] + rng.normal(0, 1, (len(det_image), 4)) * spread
    alike = rng.random(len(det_image)) < 0.5
    det_label = np.where(alike, label[near], rng.integers(0, CLASSES, len(det_image)))
    sure = (spread[:, 0] < 10) & alike
    score = rng.random(len(det_image)) ** np.where(sure, 1, 5)
    rows = np.concatenate([det_boxes, score[:, None]], axis=1)
    best_first = np.lexsort((-score, det_image))
    det_image, det_label, rows = det_image[best_first], det_label[best_first], rows[best_first]
    return DetectionArrays.from_rows(det_image, det_label, rows), truth
