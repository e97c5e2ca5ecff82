"""Whole commands, as a user types them: train with one NCCL rank, resume, test, the video demo."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import torch
from mmengine import Config

from mmdet.datasets.imagenet_classes import IMAGENET_VID_CLASSES
from mmdet.programs.benchmark.made_up import build_model, write_frames
from mmdet.programs.convert import convert_det, convert_vid
from mmdet.programs.sample import SampleSpec, make_sample_vid
from mmdet.video.writer import VideoWriter

REPO = Path(__file__).resolve().parents[3]
MAMBA = 'configs/vid/mamba/mamba_r101_dc5_6x.py'
TOY = 'configs/sample/mamba_r18.py'
PROGRESS = re.compile(r'(\d+)(?:/\d+)? frames.*?([\d.]+) frames/s')


def measure_commands(on_gpu: bool) -> dict[str, float]:
    """Seconds of each command, and frames/s of those that print them."""
    results: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        _detect_and_test(work, on_gpu, results)
        _train_and_resume(work, results)
    return results


def _run(work: Path, results: dict[str, float], name: str, *command: str) -> None:
    """Run a command in a folder. A failure is raised with the end of what it printed."""
    start = time.perf_counter()
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([str(REPO), *sys.path]))
    # scripts and configs are named from the top of the repository
    named = ('tools/', 'demo/', 'configs/')
    words = [str(REPO / word) if word.startswith(named) else word for word in command]
    done = subprocess.run(
        [sys.executable, *words], cwd=work, env=environment, capture_output=True, text=True
    )
    output = done.stdout + done.stderr
    if done.returncode:
        raise RuntimeError(f'{name}: {" ".join(command)} failed:\n{output[-3000:]}')
    figures = {'s': time.perf_counter() - start, 'frames/s': steady_rate(output)}
    for unit, value in figures.items():
        if value:
            results[f'{name}, {unit}'] = value
            print(f'{name}: {value:.1f} {unit}', flush=True)


def steady_rate(output: str) -> float | None:
    """Frames per second between the first and the last line of progress: the first has what a
    program does once, such as choosing kernels. None without any line."""
    seen = [(int(done), float(rate)) for done, rate in PROGRESS.findall(output)]
    if not seen:
        return None
    (first, first_rate), (last, last_rate) = seen[0], seen[-1]
    if first == last or not first_rate or not last_rate:
        return last_rate
    return (last - first) / (last / last_rate - first / first_rate)


def _train_and_resume(work: Path, results: dict[str, float]) -> None:
    """On a few rendered videos."""
    data = work / 'data/sample'
    make_sample_vid(data, SampleSpec(train_videos=4, val_videos=2, det_images=4))
    convert_vid(data, data / 'annotations')
    convert_det(data, data / 'annotations')
    launch = '-m torch.distributed.run --nproc_per_node=1 --master_port=29611'.split()
    common = f'{TOY} --launcher pytorch --work-dir run'.split()
    flags = '--no-validate --amp bf16 --resume auto --cfg-options load_from=None param_scheduler=[]'
    train = [*launch, 'tools/train.py', *common, *flags.split()]
    _run(work, results, 'train, one rank', *train, 'train_cfg.max_epochs=1')
    _run(work, results, 'resume, one rank', *train, 'train_cfg.max_epochs=2')
    flags = ['--checkpoint', 'run/latest.pth', '--eval', 'vid']
    _run(work, results, 'test, one rank', *launch, 'tools/test.py', *common, *flags)


def _detect_and_test(work: Path, on_gpu: bool, results: dict[str, float]) -> None:
    """demo/video_demo.py on an H.264 file, and tools/test.py on JPEG frames, without scoring."""
    config, size = (MAMBA, (720, 1280)) if on_gpu else (TOY, (96, 160))
    film, length, videos, workers = (2000, 100, 8, 12) if on_gpu else (12, 4, 2, 1)
    cfg = Config.fromfile(REPO / config)
    weights = build_model(cfg.model, size).state_dict()
    torch.save({'meta': {}, 'state_dict': weights}, work / 'w.pth')

    paths = write_frames(work / 'val/v', length, size)
    images = [cv2.GaussianBlur(cv2.imread(str(path)), (0, 0), 2) for path in paths[:30]]
    with VideoWriter(work / 'v.mp4', 25) as writer:
        for i in range(film):
            writer.write(images[i % len(images)])
    demo = f'demo/video_demo.py v.mp4 {config} w.pth --json v.jsonl --amp bf16'
    _run(work, results, 'video_demo to JSON', *demo.split())

    names = IMAGENET_VID_CLASSES[: cfg.model.detector.roi_head.bbox_head.num_classes]
    content = dict(annotations=[], videos=[dict(id=v, name=f'v{v}') for v in range(1, videos + 1)])
    content['categories'] = [dict(id=i, name=name) for i, name in enumerate(names, 1)]
    place = dict(height=size[0], width=size[1])
    content['images'] = [
        dict(place, id=v * length + i, video_id=v, frame_id=i, file_name=f'v/{path.name}')
        for v in range(1, videos + 1)
        for i, path in enumerate(paths)
    ]
    (work / 'val.json').write_text(json.dumps(content))
    data = 'test_dataloader.dataset'
    test = (
        f'tools/test.py {config} --checkpoint w.pth --out r.pkl --amp bf16 --work-dir test '
        f'--cfg-options {data}.ann_file=val.json {data}.img_prefix=val '
        f'test_evaluator.ann_file=val.json test_dataloader.batch_size=8 '
        f'test_dataloader.num_workers={workers}'
    )
    _run(work, results, 'test.py, batch 8', *test.split())
