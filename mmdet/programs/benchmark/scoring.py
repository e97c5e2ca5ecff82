"""How fast results are scored: frames per second of both protocols, and the memory it takes.

The frames are made up: 1.7 objects each on average (ImageNet VID val has 1.55), half of the
detections of the class of an object in the frame. The literal evaluator of `literal_vid.py`, loops
as in published ones, scores fewer of them in the same process, and must find the same AP.
"""

import argparse
from collections.abc import Callable

import numpy as np

from mmdet.evaluation.coco import coco_ap
from mmdet.evaluation.ground_truth import GroundTruth
from mmdet.evaluation.results import DetectionArrays
from mmdet.evaluation.vid_ap import vid_ap
from mmdet.programs.benchmark.literal_vid import literal_vid_ap
from mmdet.programs.benchmark.timing import describe_machine, median_seconds, resident_peak_mb

CLASSES = 30
WIDTH, HEIGHT = 1280, 720
VID = 'AP50 (VID), 4 speed ranges'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    for flag, default, what in (
        ('--frames', 20_000, 'frames'),
        ('--boxes', 90, 'detections per frame'),
        ('--literal', 300, 'frames for the literal evaluator, too'),
        ('--repeats', 3, 'timed calls, after one'),
    ):
        parser.add_argument(flag, type=int, default=default, help=f'{what}; default: {default}')
    parser.add_argument('--skip-coco', action='store_true', help='AP50 (VID) alone')


def run(args: argparse.Namespace) -> None:
    print(describe_machine())
    print(f'{args.frames:,} frames with {args.boxes} detections each; median of {args.repeats}')
    now = f'peak memory (now {resident_peak_mb():.0f} MB)'
    print(f'{"":28}     wall      CPU     frames/s   {now}')
    made_up = made_up_results(args.frames, args.boxes)
    _measure(VID, lambda: vid_ap(*made_up), args.frames, args)
    if not args.skip_coco:
        _measure('AP (COCO)', lambda: coco_ap(*made_up), args.frames, args)
    frames = min(args.literal, args.frames)
    some = made_up_results(frames, args.boxes)
    print(f'the same {frames:,} frames by both:')
    ours = _measure(VID, lambda: vid_ap(*some), frames, args)
    literal = _measure('literal loops', lambda: literal_vid_ap(*some), frames, args)
    apart = np.nanmax(np.abs(vid_ap(*some).ap - literal_vid_ap(*some)))
    print(f'{"":28} {literal / ours:.0f} times the CPU time; AP differs by at most {apart:.0e}')


def _measure(
    what: str, function: Callable[[], object], frames: int, args: argparse.Namespace
) -> float:
    """Call, print, and give the median CPU time in seconds."""
    wall, cpu = median_seconds(function, args.repeats)
    rate, peak = f'{frames / wall:12,.0f}', f'{resident_peak_mb():10.0f} MB'
    print(f'{what:28} {wall:6.2f} s {cpu:6.2f} s {rate} {peak}')
    return cpu


def made_up_results(frames: int, boxes: int, seed: int = 0) -> tuple[DetectionArrays, GroundTruth]:
    """Detections and ground truth of frames in which detections crowd around the objects."""
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
