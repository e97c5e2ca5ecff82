"""Detect on a video: demo/video_demo.py INPUT CONFIG [CHECKPOINT] [flags]."""

import argparse
import os
import re
import sys

from mmdet.programs.commands.flags import add_detector_flags, make_detector


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Detect on a video file, folder or glob pattern of images, camera or stream.',
        epilog='Without any output flag, --out is INPUT_detections.mp4 in the current folder.',
    )
    parser.add_argument('input', help='file, folder, pattern, camera number or address')
    add_detector_flags(parser)
    parser.add_argument('--out', metavar='V.mp4', help='the video with boxes, H.264')
    parser.add_argument('--json', metavar='R.jsonl', help='one JSON object per frame and line')
    parser.add_argument('--coco', metavar='R.json', help='CocoVID JSON with scores')
    parser.add_argument('--mot', metavar='R.txt', help='MOTChallenge detections')
    parser.add_argument('--csv', metavar='R.csv', help='a table, one row per detection')
    parser.add_argument('--show', action='store_true', help='in a window; q or Esc ends')
    parser.add_argument('--score-thr', type=float, default=0.3, help='leave out what is below')
    parser.add_argument(
        '--causal', action='store_true', help='use past frames only; always so for live input'
    )
    parser.add_argument('--stride', type=int, default=1, metavar='N', help='every N-th frame only')
    parser.add_argument('--fps', type=float, help='frame rate of images (default 25)')
    args = parser.parse_args(argv)
    outputs = {name: getattr(args, name) for name in ('out', 'json', 'coco', 'mot', 'csv')}
    args.outputs = {name: path for name, path in outputs.items() if path}
    if not args.outputs and not args.show:
        stem = re.sub(r'\W+', '_', os.path.splitext(args.input.rstrip('/\\'))[0].split('/')[-1])
        args.outputs = {'out': f'{stem.strip("_") or "video"}_detections.mp4'}
    _check(parser, args)
    return args


def _check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if not 0 <= args.score_thr <= 1:
        parser.error(f'--score-thr must be in 0..1, not {args.score_thr}')
    paths = [os.path.realpath(path) for path in args.outputs.values()]
    if os.path.realpath(args.input) in paths:
        parser.error('an output has the name of the input: it would be overwritten')
    if len(set(paths)) < len(paths):
        parser.error('two outputs have the same name')


def main() -> int:
    args = parse_args()
    from mmdet.apis import VideoError
    from mmdet.apis.common import plain_errors

    try:
        with plain_errors():
            return detect(args, make_detector(args, args.score_thr))
    except (VideoError, OSError) as error:
        sys.exit(f'error: {error}')
    except KeyboardInterrupt:  # before the first frame
        return 130


def detect(args: argparse.Namespace, detector) -> int:
    from mmdet.apis.video_run import run_video

    stream = detector.stream(args.input, causal=args.causal, stride=args.stride, fps=args.fps)
    summary = run_video(stream, args.outputs, args.show)
    if summary.stopped:
        print(f'Stopped after {summary.frames} frames; they are in the files.')
    for path in args.outputs.values() if summary.frames else ():
        print(f'{path}: {os.path.getsize(path) / 1e3:.1f} kB')
    return 130 if summary.stopped else 0
