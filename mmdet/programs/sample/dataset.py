"""The sample dataset as a whole: who plays in which video, and what came of it.

Every video has a generator of its own, seeded by (seed, split, number): the first ten videos are
the same whether ten or a hundred are asked for.
"""

import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from mmdet.core.fileio import atomic_write
from mmdet.core.progress import FrameProgress
from mmdet.datasets.motion import motion_iou
from mmdet.programs.sample.degrade import KINDS
from mmdet.programs.sample.layout import check_free, list_rows, write_frame, write_lists
from mmdet.programs.sample.scene import RenderedFrame, render
from mmdet.programs.sample.sprites import DRAWERS
from mmdet.programs.sample.tracks import SPEEDS

MARKER = 'sample_vid.json'
SIZE = (320, 192)  # width, height
DET_SIZES = (SIZE, (288, 192), (256, 160))
LENGTHS = {'train': (14, 18), 'val': (20, 26)}  # frames, both ends included
NUM_OBJECTS, NUM_OBJECTS_SHARE = (1, 2, 3), (0.4, 0.4, 0.2)
NUM_STRETCHES = {'train': (1, 2), 'val': (2, 3)}  # stretches per video, equally likely
SPLITS = ('train', 'val', 'det')  # the position is part of the seed
MOTION_BINS = {'slow': (0.9, 1.01), 'medium': (0.7, 0.9), 'fast': (0.0, 0.7)}


@dataclass
class SampleSpec:
    """What to render; the same values give the same bytes (with the same NumPy and OpenCV)."""

    seed: int = 0
    train_videos: int = 240
    val_videos: int = 40
    det_images: int = 120


@dataclass
class SplitReport:
    """Counts of one split; `motion` counts boxes by motion IoU, `degraded` frames by cause."""

    videos: int = 0
    frames: int = 0
    boxes: Counter = field(default_factory=Counter)
    motion: Counter = field(default_factory=Counter)
    degraded: Counter = field(default_factory=Counter)


def make_sample_vid(out_dir: Path, spec: SampleSpec) -> dict[str, SplitReport]:
    """Render the dataset into `out_dir`, replacing an earlier one there, and print a summary.

    Returns:
        a report per split, 'train', 'val' and 'det'.

    Raises:
        FileExistsError: `out_dir` holds a dataset that is not such a sample.
        ValueError: a negative number of videos or images, or no training or validation video.
    """
    if min(spec.train_videos, spec.val_videos, spec.det_images) < 1 or spec.seed < 0:
        raise ValueError(f'Needs at least one of each, and a seed from 0, got {spec}.')
    for folder in check_free(out_dir, MARKER):
        shutil.rmtree(folder)
    with atomic_write(out_dir / MARKER) as file:
        json.dump(asdict(spec), file)
    reports = {split: SplitReport() for split in SPLITS}
    lists: dict[str, list[str]] = defaultdict(list)
    casts = [cast for split in SPLITS for cast in _casts(split, spec)]
    total = sum(cast.num_frames for cast in casts)
    with FrameProgress(total, f'Rendering {out_dir}') as progress:
        for cast in casts:
            frames = list(cast.frames())
            for number, frame in enumerate(frames):
                name = cast.name if cast.split == 'det' else f'{cast.name}/{number:06d}'
                subset = 'DET' if cast.split == 'det' else 'VID'
                write_frame(out_dir, subset, name, frame.image, frame.labels)
                if frame.degraded_by:
                    degraded = f'{name} {frame.degraded_by}'
                    lists[f'VID_{cast.split}_degraded.txt'].append(degraded)
                progress.advance(1)
            listed, rows = list_rows(cast.split, cast.name, cast.num_frames)
            lists[listed] += rows
            _count(reports[cast.split], frames)
    write_lists(out_dir, lists)
    _print(reports, out_dir)
    return reports


@dataclass
class _Cast:
    """One video or image before it is rendered."""

    split: str
    name: str
    names: list[str]
    speeds: list[str]
    degradations: list[str]
    num_frames: int
    size: tuple[int, int]
    seed: tuple[int, ...]

    def frames(self) -> Iterator[RenderedFrame]:
        rng = np.random.default_rng(self.seed)
        return render(self.names, self.speeds, self.degradations, self.num_frames, self.size, rng)


def _casts(split: str, spec: SampleSpec) -> Iterator[_Cast]:
    """All videos of a split. Classes, speeds and degradations are dealt out, so none is rare."""
    count = {'train': spec.train_videos, 'val': spec.val_videos, 'det': spec.det_images}[split]
    number_of_split = SPLITS.index(split)
    rng = np.random.default_rng((spec.seed, number_of_split))
    classes, speeds, kinds = _deal(list(DRAWERS), rng), _deal(list(SPEEDS), rng), _deal(KINDS, rng)
    for i in range(count):
        objects = rng.choice(NUM_OBJECTS, p=NUM_OBJECTS_SHARE)
        names = [next(classes) for _ in range(objects)]
        is_video = split != 'det'
        degradations = rng.choice(NUM_STRETCHES[split]) if is_video else 0
        yield _Cast(
            split=split,
            name=_name(split, i),
            names=names,
            speeds=[next(speeds) for _ in range(objects)],
            degradations=[next(kinds) for _ in range(degradations)],
            num_frames=int(rng.integers(*LENGTHS[split], endpoint=True)) if is_video else 1,
            size=SIZE if is_video else DET_SIZES[rng.integers(len(DET_SIZES))],
            seed=(spec.seed, number_of_split, i),
        )


def _deal(cards: Sequence[str], rng: np.random.Generator) -> Iterator[str]:
    """The cards in random order, then again in another one, without end."""
    while True:
        yield from (cards[i] for i in rng.permutation(len(cards)))


def _name(split: str, number: int) -> str:
    if split == 'train':
        return f'train/ILSVRC2015_VID_train_0000/ILSVRC2015_train_{number:08d}'
    if split == 'val':
        return f'val/ILSVRC2015_val_{number:08d}'
    return f'train/ILSVRC2014_train_0000/ILSVRC2014_train_{number:08d}'


def _count(report: SplitReport, frames: list[RenderedFrame]) -> None:
    report.videos += 1
    report.frames += len(frames)
    report.degraded.update(frame.degraded_by for frame in frames if frame.degraded_by)
    labels = [(number, label) for number, frame in enumerate(frames) for label in frame.labels]
    report.boxes.update(label.name for _, label in labels)
    if len(frames) == 1 or not labels:
        return
    boxes = np.array([label.box for _, label in labels], np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    tracks = np.array([label.track for _, label in labels])
    motion = motion_iou(tracks, np.array([number for number, _ in labels]), boxes)
    for name, (low, high) in MOTION_BINS.items():
        report.motion[name] += int(((motion >= low) & (motion < high)).sum())


def _print(reports: dict[str, SplitReport], out_dir: Path) -> None:
    table = Table('')
    for split in SPLITS:
        table.add_column(split, justify='right')
    parts = [reports[split] for split in SPLITS]
    table.add_row('videos', *(str(r.videos) if r.motion else '-' for r in parts))
    table.add_row('frames', *(str(r.frames) for r in parts))
    for kind in KINDS:
        table.add_row(f'  {kind}', *(_share(r.degraded[kind], r.frames) for r in parts))
    table.add_row('boxes', *(str(r.boxes.total()) for r in parts))
    for name in MOTION_BINS:
        table.add_row(f'  {name}', *(_share(r.motion[name], r.motion.total()) for r in parts))
    for name in DRAWERS:
        table.add_row(f'  {name}', *(str(r.boxes[name]) for r in parts))
    console = Console()
    console.print(table)
    console.print(
        f'Wrote {out_dir} (degraded frames are listed in ImageSets/VID_*_degraded.txt)',
        soft_wrap=True,
    )


def _share(part: int, whole: int) -> str:
    return f'{part / whole:.1%}' if part else '-'
