"""Whole commands, as a user types them: train with one NCCL rank, resume, test, the video demo."""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

REPO = Path(__file__).resolve().parents[3]
MAMBA = 'configs/vid/mamba/mamba_r101_dc5_6x.py'
TOY = 'configs/sample/mamba_r18.py'
PROGRESS = re.compile(r'(\d+)(?:/\d+)? frames.*?([\d.]+) frames/s')


def measure_commands(on_gpu: bool) -> dict[str, float]:
    """Seconds of each command, and frames/s of those that print them."""
    results: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        _train_and_resume(work, results)
        _video_demo(work, on_gpu, results)
        _test_frames(work, on_gpu, results)
    return results


def _run(results: dict[str, float], name: str, *command: str, at: Path = REPO) -> str:
    """Run a command in a folder; its output. A failure is raised with the end of it."""
    start = time.perf_counter()
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([str(REPO), *sys.path]))
    done = subprocess.run(
        [sys.executable, *map(_absolute, command)], cwd=at, env=environment, capture_output=True,
        text=True,
    )  # fmt: skip
    output = done.stdout + done.stderr
    if done.returncode:
        raise RuntimeError(f'{name}: {" ".join(command)} failed:\n{output[-3000:]}')
    results[f'{name}, s'] = time.perf_counter() - start
    print(f'{name}: {results[f"{name}, s"]:.1f} s', flush=True)
    rate = steady_rate(output)
    if rate:
        results[f'{name}, frames/s'] = rate
        print(f'{name}: {rate:.1f} frames/s', flush=True)
    return output


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


def _absolute(word: str) -> str:
    """Scripts and configs are named from the top of the repository."""
    return str(REPO / word) if word.startswith(('tools/', 'demo/', 'configs/')) else word


def _train_and_resume(work: Path, results: dict[str, float]) -> None:
    """On a few rendered videos."""
    from mmdet.programs.convert import convert_det, convert_vid
    from mmdet.programs.sample import SampleSpec, make_sample_vid

    data = work / 'data/sample'
    make_sample_vid(data, SampleSpec(train_videos=4, val_videos=2, det_images=4))
    convert_vid(data, data / 'annotations')
    convert_det(data, data / 'annotations')
    launch = ['-m', 'torch.distributed.run', '--nproc_per_node=1', '--master_port=29611']
    common = [TOY, '--launcher', 'pytorch', '--work-dir', 'run']
    train = [
        *launch, 'tools/train.py', *common, '--no-validate', '--amp', 'bf16', '--resume', 'auto',
        '--cfg-options', 'load_from=None', 'param_scheduler=[]',
    ]  # fmt: skip
    _run(results, 'train, one rank', *train, 'train_cfg.max_epochs=1', at=work)
    _run(results, 'resume, one rank', *train, 'train_cfg.max_epochs=2', at=work)
    test = [*launch, 'tools/test.py', *common, '--checkpoint', 'run/latest.pth', '--eval', 'vid']
    _run(results, 'test, one rank', *test, at=work)


def _checkpoint(config: str, path: Path, size: tuple[int, int]) -> Path:
    from mmengine import Config

    import mmdet.models  # noqa: F401
    from mmdet.programs.benchmark.frames import random_weights
    from mmdet.registry import MODELS

    model = random_weights(MODELS.build(Config.fromfile(REPO / config).model).eval(), size)
    torch.save({'meta': {}, 'state_dict': model.state_dict()}, path)
    return path


def _video_demo(work: Path, on_gpu: bool, results: dict[str, float]) -> None:
    """On an H.264 file of 1280x720."""
    from mmdet.programs.benchmark.synthetic import write_frames
    from mmdet.video.writer import VideoWriter

    size, length = ((1280, 720), 3000) if on_gpu else ((160, 96), 12)
    config = MAMBA if on_gpu else TOY
    import cv2

    (work / 'frames').mkdir()
    paths = write_frames(work / 'frames', 30 if on_gpu else 6, *size)
    images = [cv2.GaussianBlur(cv2.imread(str(path)), (0, 0), 2) for path in paths]
    with VideoWriter(work / 'v.mp4', 25) as writer:
        for i in range(length):
            writer.write(images[i % len(images)])
    weights = _checkpoint(config, work / 'w.pth', size[::-1])
    _run(
        results, 'video_demo to JSON', 'demo/video_demo.py', str(work / 'v.mp4'), config,
        str(weights), '--json', str(work / 'v.jsonl'), '--amp', 'bf16',
    )  # fmt: skip


def _test_frames(work: Path, on_gpu: bool, results: dict[str, float]) -> None:
    """tools/test.py on JPEG frames of 1280x720, without scoring."""
    import json

    from mmdet.programs.benchmark.synthetic import write_frames

    size, length, videos = ((1280, 720), 150, 4) if on_gpu else ((160, 96), 4, 2)
    (work / 'val/v').mkdir(parents=True)
    write_frames(work / 'val/v', length, *size)
    images = [
        dict(id=1 + v * length + i, file_name=f'v/{i:06d}.JPEG', width=size[0], height=size[1],
             video_id=1 + v, frame_id=i)
        for v in range(videos) for i in range(length)
    ]  # fmt: skip
    from mmengine import Config

    from mmdet.datasets.imagenet_classes import IMAGENET_VID_CLASSES

    config = MAMBA if on_gpu else TOY
    head = Config.fromfile(REPO / config).model.detector.roi_head.bbox_head
    names = IMAGENET_VID_CLASSES[: head.num_classes]
    categories = [dict(id=i + 1, name=n) for i, n in enumerate(names)]
    content = dict(
        images=images, annotations=[], categories=categories,
        videos=[dict(id=1 + v, name=f'v{v}') for v in range(videos)],
    )  # fmt: skip
    (work / 'val.json').write_text(json.dumps(content))
    _run(
        results, 'test.py, batch 8', 'tools/test.py', config, '--checkpoint', str(work / 'w.pth'),
        '--out', str(work / 'r.pkl'), '--amp', 'bf16', '--work-dir', str(work / 'test'),
        '--cfg-options', f'test_dataloader.dataset.ann_file={work}/val.json',
        f'test_dataloader.dataset.img_prefix={work}/val', 'test_dataloader.batch_size=8',
        'test_dataloader.num_workers=12' if on_gpu else 'test_dataloader.num_workers=1',
        f'test_evaluator.ann_file={work}/val.json',
    )  # fmt: skip
