"""The main job on the sample dataset: render, convert, train, test, look.

Every step is a public command, printed before it runs: what you see is how to do it yourself.
"""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from mmengine import Config

from mmdet.core.errors import VFEError
from mmdet.core.images import write_image
from mmdet.core.options import parse_value
from mmdet.engine.config_load import load_config
from mmdet.evaluation.evaluate import ScoredSet
from mmdet.programs.analyse.drawn_frames import DrawnFrames
from mmdet.programs.analyse.plots import plot_ap_by_class, plot_ap_by_motion
from mmdet.programs.analyse.training_logs import load_training, plot_logs
from mmdet.programs.sample import SampleSpec
from mmdet.video.writer import VideoWriter
from mmdet.visualization import contact_sheet

PROGRAMS = Path(__file__).resolve().parent
DATA = 'data/sample'
CONVERTERS = 'tools/convert_datasets/ilsvrc'
ANNOTATIONS = ('imagenet_vid_train', 'imagenet_vid_val', 'imagenet_det_30plus1cls')
PAGE_FRAMES, VIDEO_FPS = 12, 10


class QuickstartError(VFEError):
    """A step failed, or the result is not as good as it must be."""


def quickstart(
    checkout: Path,
    config: str = 'configs/sample/faster_rcnn_r18.py',
    work_dir: str = '',
    cfg_options: Sequence[str] = (),
) -> None:
    """Run all steps in a checkout, which becomes the working directory.

    Args:
        work_dir: work_dirs/<config name> when empty.
        cfg_options: KEY=VALUE texts, passed on to training and testing.

    Raises:
        QuickstartError: see there.
    """
    os.chdir(checkout)
    pairs = (text.partition('=') for text in cfg_options)
    cfg = load_config(config, {key: parse_value(value) for key, _, value in pairs}, work_dir)
    folder = Path(cfg.work_dir)
    checkpoint, results = folder / f'epoch_{cfg.train_cfg.max_epochs}.pth', folder / 'results.pkl'
    options = ['--cfg-options', *cfg_options] if cfg_options else []
    started = time.monotonic()

    _start(1, 'Sample dataset: rendered videos of 8 of the 30 ImageNet VID classes (about 40 s)')
    if is_rendered():
        print(f'  {DATA} is there and newer than the code that makes it: kept')
    else:
        _run('tools/make_sample_vid.py', '-o', DATA)
        for subset in ('vid', 'det'):
            script = f'{CONVERTERS}/imagenet2coco_{subset}.py'
            _run(script, '-i', DATA, '-o', f'{DATA}/annotations')
    _start(2, f'Training {config} from scratch (about 5 min on 2 CPU cores)')
    _run('tools/train.py', config, '--work-dir', f'{folder}', *options)
    _start(3, 'Testing on the validation videos (about 20 s)')
    test = ('tools/test.py', config, '--checkpoint', f'{checkpoint}', '--eval', 'bbox')
    _run(*test, '--out', f'{results}', '--work-dir', f'{folder}', *options)
    _start(4, 'Video, page of frames, curves (about 20 s)')
    files = {'trained model': checkpoint, 'detections on all frames': results}
    files |= _draw(cfg, folder, results, folder / 'pictures')
    _start(5, f'Summary ({(time.monotonic() - started) / 60:.1f} min in all)')
    summarise(cfg, config, files, folder / 'metrics.json')


def _start(number: int, what: str) -> None:
    print(f'\n=== {number}/5 {what}', flush=True)


def _run(*command: str) -> None:
    """Print the command, run it, and stop if it fails."""
    print(f'$ python {shlex.join(command)}', flush=True)
    started = time.monotonic()
    environment = dict(os.environ, PYTHONUNBUFFERED='1')
    process = subprocess.Popen([sys.executable, *command], env=environment)
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.wait()  # it got the same Ctrl-C, and may be saving what it has
        raise
    if code:
        raise QuickstartError(
            f'`python {shlex.join(command)}` failed with exit code {code}; its last lines above '
            f'say why. `make quickstart` starts again.'
        )
    print(f'  took {time.monotonic() - started:.0f} s', flush=True)


def is_rendered() -> bool:
    """The dataset is complete, of the default seed, and newer than everything that made it."""
    marker = Path(DATA, 'sample_vid.json')
    made = [Path(DATA, 'annotations', f'{name}.json') for name in ANNOTATIONS]
    if not marker.exists() or not all(path.exists() for path in made):
        return False
    if json.loads(marker.read_text()) != asdict(SampleSpec()):
        return False
    sources = [marker, *PROGRAMS.glob('sample/*.py'), *PROGRAMS.glob('convert/*.py')]
    newest_source = max(path.stat().st_mtime for path in sources)
    return min(path.stat().st_mtime for path in made) >= newest_source


def _draw(config: Config, work_dir: Path, results: Path, pictures: Path) -> dict[str, Path]:
    """Write the video and the pictures; what each shows, and where it is."""
    dataset = config.test_dataloader.dataset
    scored = ScoredSet.open(dataset.ann_file, with_motion=False)
    detections = scored.read(results)
    frames = DrawnFrames(scored, dataset.img_prefix, score_thr=0.5)
    files = {
        'a validation video with detections (ground truth dashed)': pictures / 'detections.mp4',
        f'{PAGE_FRAMES} validation frames on a page': pictures / 'frames.png',
        'loss and learning rate': pictures / 'training.png',
        'AP by motion': pictures / 'ap_by_motion.png',
        'AP by class': pictures / 'ap_by_class.png',
    }
    video, page, training, motion, per_class = files.values()
    with VideoWriter(video, VIDEO_FPS) as writer:
        for image in frames.video(detections, frames.busiest_video()):
            writer.write(image)
    chosen = frames.spread(PAGE_FRAMES)
    title = 'Detections (solid, score 0.5 and above) and ground truth (white dashes)'
    captions = [frames.caption(image) for image in chosen]
    drawn = [frames.draw(detections, image) for image in chosen]
    write_image(page, contact_sheet(drawn, captions, title))
    metrics = json.loads((work_dir / 'metrics.json').read_text())
    log = load_training(work_dir)
    parts = [key for key in log.keys() if key.startswith('loss_')]
    plot_logs({'training': log}, ['loss', *parts, 'lr'], training, window=len(log.train) // 20)
    plot_ap_by_motion({'this run': metrics}, motion)
    plot_ap_by_class(metrics, per_class)
    return files


def summarise(cfg: Config, name: str, files: dict[str, Path], metrics: Path) -> None:
    """Print where everything is, and whether the result is what the config expects."""
    files = {**files, 'all numbers': metrics}
    width = max(map(len, files)) + 2
    for what, path in files.items():
        print(f'{what:<{width}}{path}')
    expected = cfg.expected
    value = json.loads(metrics.read_text())[expected.metric]
    wanted = f'{expected.value:.3f} with a tolerance of {expected.tolerance:.3f} ({name})'
    if value < expected.value - expected.tolerance:
        raise QuickstartError(f'{expected.metric} is {value:.3f}, below the expected {wanted}.')
    print(f'\n{expected.metric} is {value:.3f}; expected {wanted}. All is well.')
