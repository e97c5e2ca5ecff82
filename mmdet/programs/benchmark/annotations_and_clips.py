"""How long annotations take to open and clips to load.

The annotation file has the size of ImageNet VID train: 3,862 videos, 1,122,397 frames, 1.7 million
boxes, written in the style of `json.dump`. Every opening is measured in a fresh process.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from rich.progress import track

from mmdet.datasets.imagenet_classes import IMAGENET_VID_CLASSES
from mmdet.datasets.transforms import LoadFrames, Resize
from mmdet.programs.benchmark.machine import describe_machine
from mmdet.structures import Clip, Frame

SHARED = Path(__file__).resolve().parents[4] / 'shared' / 'data'
FRAMES, VIDEOS, BOXES = 1_122_397, 3_862, 1_700_000
SCALE = (1000, 600)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--train-list',
        type=Path,
        default=SHARED / 'ImageSets' / 'VID_train_15frames.txt',
        help='VID_train_15frames.txt; made-up videos of the same number where it is absent',
    )
    parser.add_argument(
        '--frame-dir',
        type=Path,
        default=SHARED / 'snippet',
        help='folder of 1280x720 JPEG frames; made-up ones where it is absent',
    )
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
            measure_annotations(Path(folder), args.train_list, args.opens)
        if args.only != 'annotations':
            measure_clips(Path(folder), args.frame_dir, args.clips)


# --- annotations ---------------------------------------------------------------------------------


def measure_annotations(folder: Path, train_list: Path, opens: int) -> None:
    path = folder / 'imagenet_vid_train.json'
    videos = list(read_videos(train_list) if train_list.is_file() else made_up_videos())
    write_annotations(path, videos)
    frames = sum(length for _, length, _ in videos)
    size = path.stat().st_size / 1e6
    print(
        f'\nannotations: {len(videos):,} videos, {frames:,} frames, {BOXES:,} boxes, {size:.0f} MB'
    )
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


def read_videos(train_list: Path) -> Iterator[tuple[str, int, set[int]]]:
    """(name, frames, training frames) of every video of a list file, in its order."""
    videos: dict[str, tuple[int, set[int]]] = {}
    for line in train_list.read_text().splitlines():
        name, _, frame, length = line.split()
        videos.setdefault(name, (int(length), set()))[1].add(int(frame) - 1)
    for name, (length, frames) in videos.items():
        yield name, length, frames


def made_up_videos() -> Iterator[tuple[str, int, set[int]]]:
    """Videos of the real number and total length."""
    for v in range(VIDEOS):
        length = FRAMES * (v + 1) // VIDEOS - FRAMES * v // VIDEOS
        name = f'train/ILSVRC2015_VID_train_{v // 1000:04d}/ILSVRC2015_train_{v:08d}'
        yield name, length, set(range(10, length, length // 15))


def write_annotations(path: Path, videos: list[tuple[str, int, set[int]]]) -> None:
    total = sum(length for _, length, _ in videos)
    lists = {
        'categories': (
            json.dumps({'id': i, 'name': name, 'encode_name': f'n{i:08d}'})
            for i, name in enumerate(IMAGENET_VID_CLASSES, 1)
        ),
        'videos': (
            json.dumps({'id': v, 'name': name, 'vid_train_frames': sorted(frames)})
            for v, (name, _, frames) in enumerate(videos, 1)
        ),
        'images': _images(videos),
        'annotations': _annotations(videos, total),
    }
    with path.open('w') as file:
        for i, (name, entries) in enumerate(lists.items()):
            file.write(f'{", " if i else "{"}"{name}": [')
            for k, entry in enumerate(entries):
                file.write(f', {entry}' if k else entry)
            file.write(']')
        file.write('}')


def _images(videos: list[tuple[str, int, set[int]]]) -> Iterator[str]:
    image = 0
    for v, (name, length, frames) in enumerate(track(videos, 'Writing images'), 1):
        for frame in range(length):
            image += 1
            yield (
                f'{{"file_name": "{name}/{frame:06d}.JPEG", "height": 720, "width": 1280, '
                f'"id": {image}, "frame_id": {frame}, "video_id": {v}, '
                f'"is_vid_train_frame": {"true" if frame in frames else "false"}}}'
            )


def _annotations(videos: list[tuple[str, int, set[int]]], total: int) -> Iterator[str]:
    """One or two boxes per frame, `BOXES` in all."""
    image = number = 0
    for v, (_, length, _) in enumerate(track(videos, 'Writing boxes'), 1):
        for frame in range(length):
            image += 1
            for box in range(image * BOXES // total - (image - 1) * BOXES // total):
                number += 1
                x, y, w, h = 100 + frame % 700, 50 + frame % 300, 200 + box, 150
                yield (
                    f'{{"id": {number}, "video_id": {v}, "image_id": {image}, '
                    f'"category_id": {v % 30 + 1}, "instance_id": {2 * v + box}, '
                    f'"bbox": [{x}, {y}, {w}, {h}], "area": {w * h}, "iscrowd": false, '
                    f'"occluded": false, "generated": false}}'
                )


# --- clips ---------------------------------------------------------------------------------------


def measure_clips(folder: Path, frame_dir: Path, clips: int) -> None:
    paths = sorted(frame_dir.glob('*.JPEG')) or made_up_frames(folder)
    size = statistics.mean(path.stat().st_size for path in paths) / 1e3
    print(f'\nclips: three 1280x720 JPEG frames ({size:.0f} KB each) to {SCALE}, one core')
    print(f'{"":34}{"wall":>10}{"CPU":>10}   median of {clips}')
    cv2.setNumThreads(1)
    load, resize, rng = LoadFrames(), Resize(SCALE), np.random.default_rng(0)

    def plainly(chosen: list[str]) -> None:
        for path in chosen:
            image = cv2.imread(path)
            scale = min(SCALE[0] / image.shape[1], SCALE[1] / image.shape[0])
            width, height = (int(side * scale + 0.5) for side in image.shape[1::-1])
            cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)

    def with_transforms(chosen: list[str]) -> None:
        resize(load(Clip([Frame(path=path) for path in chosen]), rng), rng)

    show_times('cv2.imread and cv2.resize', plainly, paths, clips)
    show_times('LoadFrames and Resize', with_transforms, paths, clips)
    print('(bar: 32 ms; 1.x took 56 ms on its machine)')


def show_times(
    what: str, function: Callable[[list[str]], None], paths: list[Path], clips: int
) -> None:
    walls, cpus = [], []
    for i in range(-5, clips):  # the first five warm up
        chosen = [str(paths[(3 * i + k) % len(paths)]) for k in range(3)]
        wall, cpu = time.perf_counter(), time.process_time()
        function(chosen)
        if i >= 0:
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
    print(
        f'{what:34}{statistics.median(walls) * 1e3:7.1f} ms{statistics.median(cpus) * 1e3:7.1f} ms'
    )


def made_up_frames(folder: Path) -> list[Path]:
    """Nine frames of blurred noise, about as many bytes as a frame of a compressed video."""
    rng = np.random.default_rng(0)
    paths = []
    for i in range(9):
        noise = rng.integers(0, 256, (90, 160, 3), np.uint8)
        image = cv2.resize(noise, (1280, 720), interpolation=cv2.INTER_CUBIC)
        paths.append(folder / f'{i:06d}.JPEG')
        cv2.imwrite(str(paths[-1]), image, [cv2.IMWRITE_JPEG_QUALITY, 85])
    return paths
