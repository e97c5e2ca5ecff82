"""Show what a config feeds to its model: clips after all transforms, with boxes and tracks."""

import argparse

from mmdet.programs.commands.flags import add_options


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('--split', choices=('train', 'val', 'test'), default='train')
    parser.add_argument(
        '--out',
        metavar='DIR|FILE',
        help='a folder, a picture (.png, .jpg) of clips, or an .mp4 of a whole video '
        '(default: ./work_dirs/<config name>)',
    )
    parser.add_argument('--num', type=int, default=8, metavar='N', help='clips of a picture (8)')
    parser.add_argument('--video', metavar='NAME', help='only this video, by its name or its end')
    parser.add_argument('--raw', action='store_true', help='without the transforms of the config')
    parser.add_argument(
        '--seed',
        type=int,
        default=0,
        help='of order and transforms; tools/train.py --seed with the same one begins with these '
        'clips (default: 0)',
    )
    parser.add_argument('--fps', type=float, default=25, help='of an .mp4 (default: 25)')
    add_options(
        parser,
        '--cfg-options',
        'change config keys: train_dataloader.dataset.datasets.0.pipeline.3.prob=1',
    )
    args = parser.parse_args(argv)
    if args.num < 1:
        parser.error(f'--num must be at least 1, not {args.num}')
    if not 0 < args.fps < 1000:
        parser.error(f'--fps must lie between 0 and 1000, not {args.fps}')
    return args


def main() -> None:
    args = parse_args()
    from mmdet.apis.common import plain_errors
    from mmdet.programs.browse import browse_dataset

    with plain_errors():
        path = browse_dataset(**vars(args))
    print(f'Wrote {path}')
