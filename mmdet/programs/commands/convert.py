"""Labels of videos in common formats to CocoVID JSON."""

import argparse
import sys
from pathlib import Path

from mmdet.core.errors import ConversionError
from mmdet.programs.convert import FORMATS, ConvertOptions, to_cocovid
from mmdet.programs.convert.name_files import read_names

INPUTS = """what INPUT is, by format:
  yolo          folder with images (or videos) and .txt labels; names from data.yaml or classes.txt
  coco          .json file
  voc           folder with images (or videos) and .xml files
  cvat          annotations.xml of "CVAT for video 1.1" or "CVAT for images 1.1"
  mot           folder of sequences with gt/gt.txt
  got10k        folder of sequences with groundtruth.txt
  imagenet-vid  the ILSVRC folder; -o is a folder then"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=INPUTS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--from', dest='kind', choices=FORMATS, required=True, help='format')
    parser.add_argument('-i', '--input', type=Path, nargs='+', required=True, help='see below')
    parser.add_argument('-o', '--output', type=Path, required=True, metavar='OUT.json')
    parser.add_argument(
        '--img-root',
        type=Path,
        metavar='DIR',
        help='folder that file names start from and video files are extracted to '
        '(default: the folder that holds all inputs)',
    )
    parser.add_argument(
        '--classes',
        metavar='NAMES|FILE',
        help='a,b,c or a file (one per line, or YAML with `names`): which classes, in this order',
    )
    parser.add_argument(
        '--group',
        choices=('folder', 'prefix'),
        default='folder',
        help='a video is a folder of images (default), or images whose names start alike',
    )
    parser.add_argument(
        '--first-frame', type=int, choices=(0, 1), help='number of the first frame in label names'
    )
    split = parser.add_mutually_exclusive_group()
    split.add_argument(
        '--val-fraction',
        type=float,
        metavar='F',
        help='part of the videos for validation: writes OUT_train.json and OUT_val.json',
    )
    split.add_argument(
        '--split-file', type=Path, metavar='FILE', help='rows "train VIDEO" or "val VIDEO"'
    )
    split.add_argument('--val', action='store_true', help='all is for validation: no key frames')
    parser.add_argument('--seed', type=int, default=0, metavar='N', help='of --val-fraction')
    keys = parser.add_mutually_exclusive_group()
    keys.add_argument('--every', type=int, metavar='N', help='train on every N-th frame')
    keys.add_argument('--fps', type=float, metavar='N', help='train on N frames per second')
    args = parser.parse_args(argv)
    if args.kind != 'imagenet-vid' and args.output.suffix != '.json':
        parser.error(f'-o must be a .json file, got {args.output}')
    if args.kind == 'imagenet-vid':
        _check_imagenet(parser, args)
    return args


def _check_imagenet(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if len(args.input) > 1 or args.output.suffix == '.json':
        parser.error(
            'imagenet-vid takes one ILSVRC folder, and -o is a folder: it writes '
            'imagenet_vid_train.json and imagenet_vid_val.json'
        )
    names = ('img_root', 'classes', 'first_frame', 'val_fraction', 'split_file', 'every', 'fps')
    given = [name for name in names if getattr(args, name) is not None]
    if given:
        option = f'--{given[0].replace("_", "-")}'
        parser.error(f'imagenet-vid has classes, splits and key frames of its own: no {option}')


def read_classes(text: str | None) -> list[str] | None:
    """Class names from the command line: a file, or names with commas."""
    if text is None:
        return None
    if Path(text).is_file():
        return read_names(Path(text))
    return [name.strip() for name in text.split(',') if name.strip()]


def main() -> None:
    args = parse_args()
    try:
        options = ConvertOptions(
            img_root=args.img_root,
            classes=read_classes(args.classes),
            group=args.group,
            first_frame=args.first_frame,
            val_fraction=args.val_fraction,
            seed=args.seed,
            split_file=args.split_file,
            val=args.val,
            every=args.every,
            fps=args.fps,
        )
        to_cocovid(args.kind, args.input, args.output, options)
    except (ConversionError, OSError) as error:
        sys.exit(f'error: {error}')
