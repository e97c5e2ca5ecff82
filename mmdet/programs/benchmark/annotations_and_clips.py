"""How long annotations take to open and clips to load.

The annotation file has the size of ImageNet VID train: 3,862 videos, 1,122,397 frames, 1.7 million
boxes, written in the style of `json.dump`. Every opening is measured in a fresh process.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from rich.progress import track

from mmdet.datasets.imagenet_classes import IMAGENET_VID_CLASSES
from mmdet.datasets.transforms import LoadFrames, Resize
from mmdet.programs.benchmark.made_up import write_frames
from mmdet.programs.benchmark.timing import describe_machine, median_seconds
from mmdet.structures import Clip, Frame

FRAMES, VIDEOS, BOXES = 1_122_397, 3_862, 1_700_000
SCALE = (1000, 600)

Video = tuple[str, range]  # name, numbers of its frames among all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--tmp-dir', type=Path, help="folder for 730 MB (default: the system's)")
    parser.add_argument('--opens', type=int, default=5, help='warm openings measured')
    parser.add_argument('--clips', type=int, default=60, help='clips measured')
    parser.add_argument('--only', choices=('annotations', 'clips'), help='one of the two parts')


def run(args: argparse.Namespace) -> None:
    print(describe_machine())
    load = ' '.join(f'{value:.1f}' for value in os.getloadavg())
    print(f'OpenCV {cv2.__version__}; load {load} (wall times need an idle machine)')
    with tempfile.TemporaryDirectory(dir=args.tmp_dir) as folder:
        if args.only != 'clips':
            measure_annotations(Path(folder, 'imagenet_vid_train.json'), args.opens)
        if args.only != 'annotations':
            measure_clips(write_frames(Path(folder), 9, (720, 1280)), args.clips)


# --- annotations ---------------------------------------------------------------------------------


def measure_annotations(path: Path, opens: int) -> None:
    write_annotations(path)
    size = path.stat().st_size / 1e6
    print(f'\nannotations: {VIDEOS:,} videos, {FRAMES:,} frames, {BOXES:,} boxes, {size:.0f} MB')
    print(f'{"":34}{"wall":>10}{"CPU":>10}{"peak memory":>14}{"kept":>10}   beyond the imports')
    dicts = open_once('json', path)
    show('json.load, for comparison', dicts)
    show('index: first open (builds)', open_once('index', path))
    open_once('index', path)  # warm-up
    warm = [open_once('index', path) for _ in track(range(opens), 'Warm opens', transient=True)]
    median = {key: statistics.median(result[key] for result in warm) for key in warm[0]}
    show(f'index: warm open (median of {opens})', median)
    print(
        f'warm open: {dicts["wall"] / median["wall"]:.0f} times faster than json.load, '
        f'{dicts["peak"] / max(median["peak"], 0.1):.0f} times less memory '
        f'(bars: 1 s, 300 MB; 1.x took 16.3 s and 2.4 GB on its machine)'
    )


def open_once(how: str, path: Path) -> dict[str, float]:
    script = Path(__file__).with_name('open_annotations.py')
    done = subprocess.run([sys.executable, script, how, path], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def show(what: str, result: dict[str, float]) -> None:
    print(
        f'{what:34}{result["wall"]:8.2f} s{result["cpu"]:8.2f} s'
        f'{result["peak"]:11.0f} MB{result["kept"]:7.0f} MB'
    )


def write_annotations(path: Path) -> None:
    """Videos of the real number and total length, 15 training frames in each."""
    bounds = [FRAMES * v // VIDEOS for v in range(VIDEOS + 1)]
    videos = [
        (f'train/ILSVRC2015_VID_train_{v // 1000:04d}/ILSVRC2015_train_{v:08d}', range(*pair))
        for v, pair in enumerate(itertools.pairwise(bounds))
    ]
    lists: dict[str, Iterable[str]] = {
        'categories': (
            json.dumps({'id': i, 'name': name, 'encode_name': f'n{i:08d}'})
            for i, name in enumerate(IMAGENET_VID_CLASSES, 1)
        ),
        'videos': (
            json.dumps({'id': v, 'name': name, 'vid_train_frames': trained(len(frames))})
            for v, (name, frames) in enumerate(videos, 1)
        ),
        'images': _images(videos),
        'annotations': _annotations(videos),
    }
    with path.open('w') as file:
        for i, (name, entries) in enumerate(lists.items()):
            file.write(f'{", " if i else "{"}"{name}": [')
            for k, entry in enumerate(entries):
                file.write(f', {entry}' if k else entry)
            file.write(']')
        file.write('}')


def trained(length: int) -> list[int]:
    return list(range(10, length, length // 15))


def _images(videos: list[Video]) -> Iterator[str]:
    for v, (name, frames) in enumerate(track(videos, 'Writing images'), 1):
        used = set(trained(len(frames)))
        for i, image in enumerate(frames):
            yield (
                f'{{"file_name": "{name}/{i:06d}.JPEG", "height": 720, "width": 1280, '
                f'"id": {image + 1}, "frame_id": {i}, "video_id": {v}, '
                f'"is_vid_train_frame": {"true" if i in used else "false"}}}'
            )


def _annotations(videos: list[Video]) -> Iterator[str]:
    """One or two boxes per frame, `BOXES` in all."""
    for v, (_, frames) in enumerate(track(videos, 'Writing boxes'), 1):
        for i, image in enumerate(frames):
            first, end = (BOXES * k // FRAMES for k in (image, image + 1))
            for k, number in enumerate(range(first, end)):
                x, y, w, h = 100 + i % 700, 50 + i % 300, 200 + k, 150
                yield (
                    f'{{"id": {number + 1}, "video_id": {v}, "image_id": {image + 1}, '
                    f'"category_id": {v % 30 + 1}, "instance_id": {2 * v + k}, '
                    f'"bbox": [{x}, {y}, {w}, {h}], "area": {w * h}, "iscrowd": false, '
                    f'"occluded": false, "generated": false}}'
                )


# --- clips ---------------------------------------------------------------------------------------


def measure_clips(paths: list[Path], clips: int) -> None:
    size = statistics.mean(path.stat().st_size for path in paths) / 1e3
    print(f'\nclips: three 1280x720 JPEG frames ({size:.0f} KB each) to {SCALE}, one core')
    print(f'{"":34}{"wall":>10}{"CPU":>10}   median of {clips}')
    cv2.setNumThreads(1)
    load, resize, rng = LoadFrames(), Resize(SCALE), np.random.default_rng(0)
    endless = itertools.cycle(map(str, paths))

    def plainly() -> None:
        for path in itertools.islice(endless, 3):
            image = cv2.imread(path)
            scale = min(SCALE[0] / image.shape[1], SCALE[1] / image.shape[0])
            width, height = (int(side * scale + 0.5) for side in image.shape[1::-1])
            cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)

    def with_transforms() -> None:
        resize(load(Clip([Frame(path=path) for path in itertools.islice(endless, 3)]), rng), rng)

    functions = {'cv2.imread and cv2.resize': plainly, 'LoadFrames and Resize': with_transforms}
    for what, function in functions.items():
        times = median_seconds(function, clips, warm_up=5)
        print(f'{what:34}' + ''.join(f'{seconds * 1e3:7.1f} ms' for seconds in times))
    print('(bar: 32 ms; 1.x took 56 ms on its machine)')
