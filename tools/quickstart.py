"""The main job on the sample dataset: render, convert, train, test, look.

Every step is a public command, printed before it runs: what you see is how to do it yourself.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from mmengine.config import Config

REPO = Path(__file__).resolve().parents[1]
DATA = 'data/sample'
CONVERTERS = 'tools/convert_datasets/ilsvrc'
ANNOTATIONS = ('imagenet_vid_train', 'imagenet_vid_val', 'imagenet_det_30plus1cls')
PAGE_FRAMES, VIDEO_FPS = 12, 10


class Steps:
    """Numbers the steps, prints the commands, and stops at the first that fails."""

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0

    def start(self, what: str, duration: str) -> None:
        self.done += 1
        print(f'\n=== {self.done}/{self.total} {what} ({duration})', flush=True)

    def run(self, *command: str) -> None:
        print(f'$ python {shlex.join(command)}', flush=True)
        started = time.monotonic()
        process = subprocess.Popen([sys.executable, *command], cwd=REPO, env=_environment())
        try:
            code = process.wait()
        except KeyboardInterrupt:
            process.wait()  # it got the same Ctrl-C, and may be saving what it has
            raise
        if code:
            sys.exit(
                f'quickstart: `python {shlex.join(command)}` failed with exit code {code}; its '
                f'last lines above say why. `make quickstart` starts again.'
            )
        print(f'  took {time.monotonic() - started:.0f} s', flush=True)


def _environment() -> dict[str, str]:
    return dict(os.environ, PYTHONUNBUFFERED='1')


def main() -> None:
    args = _parse_args()
    os.chdir(REPO)
    config = Config.fromfile(args.config)
    if args.cfg_options:
        config.merge_from_dict(_parsed(args.cfg_options))
    work_dir = Path(args.work_dir or f'work_dirs/{Path(args.config).stem}')
    results, pictures = work_dir / 'results.pkl', work_dir / 'pictures'
    checkpoint = work_dir / f'epoch_{config.train_cfg.max_epochs}.pth'
    options = ['--cfg-options', *args.cfg_options] if args.cfg_options else []
    steps = Steps(total=5)
    started = time.monotonic()

    steps.start('Sample dataset: rendered videos of 8 of the 30 ImageNet VID classes', 'about 40 s')
    if _is_rendered():
        print(f'  {DATA} is there and newer than the code that makes it: kept')
    else:
        steps.run('tools/make_sample_vid.py', '-o', DATA)
        for subset in ('vid', 'det'):
            script = f'{CONVERTERS}/imagenet2coco_{subset}.py'
            steps.run(script, '-i', DATA, '-o', f'{DATA}/annotations')
    steps.start(f'Training {args.config} from scratch', 'about 5 min on 2 CPU cores')
    steps.run('tools/train.py', args.config, '--work-dir', f'{work_dir}', *options)
    steps.start('Testing on the validation videos', 'about 20 s')
    test = ('tools/test.py', args.config, '--checkpoint', f'{checkpoint}', '--eval', 'bbox')
    steps.run(*test, '--out', f'{results}', '--work-dir', f'{work_dir}', *options)
    steps.start('Video, page of frames, curves', 'about 20 s')
    files = _draw(config, work_dir, results, pictures)
    steps.start('Summary', f'{(time.monotonic() - started) / 60:.1f} min in all')
    _summary(config, args.config, files, work_dir, checkpoint, results)


def _parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--config', default='configs/sample/faster_rcnn_r18.py')
    parser.add_argument('--work-dir', help='default: work_dirs/<config name>')
    parser.add_argument('--cfg-options', nargs='+', default=[], help='passed on to train and test')
    return parser.parse_args()


def _parsed(options: list[str]) -> dict:
    """`key=value` as tools/train.py reads it."""
    from mmdet.core.options import OptionsAction

    parser = argparse.ArgumentParser()
    parser.add_argument('options', nargs='+', action=OptionsAction)
    return parser.parse_args(options).options


def _is_rendered() -> bool:
    """The dataset is complete, of the default seed, and newer than everything that made it."""
    from mmdet.programs.sample import SampleSpec

    marker = REPO / DATA / 'sample_vid.json'
    made = [REPO / DATA / 'annotations' / f'{name}.json' for name in ANNOTATIONS]
    if not marker.exists() or not all(path.exists() for path in made):
        return False
    if json.loads(marker.read_text()) != asdict(SampleSpec()):
        return False
    datasets = REPO / 'mmdet' / 'datasets'
    sources = [marker, REPO / 'tools' / 'make_sample_vid.py']
    sources += [*datasets.glob('sample_vid/*.py'), *datasets.glob('converters/*.py')]
    newest_source = max(path.stat().st_mtime for path in sources)
    return min(path.stat().st_mtime for path in made) >= newest_source


def _draw(config: Config, work_dir: Path, results: Path, pictures: Path) -> dict[str, Path]:
    """Write the video and the pictures; what each shows, and where it is."""
    from mmdet.evaluation.evaluate import ScoredSet
    from mmdet.programs.analyse.drawn_frames import DrawnFrames
    from mmdet.programs.analyse.plots import plot_ap_by_class, plot_ap_by_motion
    from mmdet.programs.analyse.training_logs import load_training, plot_logs
    from mmdet.video.writer import VideoWriter
    from mmdet.visualization import contact_sheet, write_picture

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
    write_picture(page, contact_sheet(drawn, captions, title))
    metrics = json.loads((work_dir / 'metrics.json').read_text())
    log = load_training(work_dir)
    parts = [key for key in log.keys() if key.startswith('loss_')]
    plot_logs({'training': log}, ['loss', *parts, 'lr'], training, window=len(log.train) // 20)
    plot_ap_by_motion({'this run': metrics}, motion)
    plot_ap_by_class(metrics, per_class)
    return files


def _summary(
    config: Config,
    name: str,
    files: dict[str, Path],
    work_dir: Path,
    checkpoint: Path,
    results: Path,
) -> None:
    files = {'trained model': checkpoint, 'detections on all frames': results, **files}
    files['all numbers'] = work_dir / 'metrics.json'
    width = max(map(len, files)) + 2
    for what, path in files.items():
        print(f'{what:<{width}}{path}')
    metrics, expected = json.loads((work_dir / 'metrics.json').read_text()), config.expected
    value = metrics[expected.metric]
    wanted = f'{expected.value:.3f} with a tolerance of {expected.tolerance:.3f} ({name})'
    if value < expected.value - expected.tolerance:
        sys.exit(f'quickstart: {expected.metric} is {value:.3f}, below the expected {wanted}.')
    print(f'\n{expected.metric} is {value:.3f}; expected {wanted}. All is well.')


if __name__ == '__main__':
    try:
        main()
    except KeyboardInterrupt:
        sys.exit('\nquickstart: interrupted; `make quickstart` starts again.')
