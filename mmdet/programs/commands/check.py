"""Look for every fault of a dataset before training does, and show what is in it."""

import argparse
import json
import sys
from pathlib import Path


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog='Ends with status 1 if there is a fault, else 0.'
    )
    parser.add_argument('ann_file', type=Path, help='CocoVID (or plain COCO) JSON')
    parser.add_argument(
        '--img-root', type=Path, required=True, metavar='DIR', help='file names start from it'
    )
    parser.add_argument('--config', type=Path, help='its classes must fit the categories')
    parser.add_argument(
        '--against', type=Path, metavar='OTHER.json', help='no video or frame may be in it, too'
    )
    parser.add_argument(
        '--against-root', type=Path, metavar='DIR', help='image root of OTHER (default: the same)'
    )
    parser.add_argument(
        '--decode',
        choices=('none', 'sample', 'all'),
        default='sample',
        help='images to decode; sample: first, middle and last of each video (default)',
    )
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the report there, too')
    args = parser.parse_args(argv)
    for path in (args.ann_file, args.config, args.against):
        if path is not None and not path.is_file():
            parser.error(f'there is no file {path}')
    for path in (args.img_root, args.against_root):
        if path is not None and not path.is_dir():
            parser.error(f'there is no folder {path}')
    return args


def main() -> None:
    args = parse_args()
    from rich.console import Console

    from mmdet.core.errors import WriteError
    from mmdet.core.fileio import atomic_write
    from mmdet.programs.check import CheckOptions, check_dataset, print_report

    options = CheckOptions(
        img_root=args.img_root,
        decode=args.decode,
        config=args.config,
        against=args.against,
        against_root=args.against_root,
    )
    report = check_dataset(args.ann_file, options)
    print_report(report, Console())
    if args.json is not None:
        try:
            with atomic_write(args.json) as file:
                json.dump(report.as_dict(), file, indent=1)
        except WriteError as error:
            sys.exit(f'error: {error}')
    sys.exit(1 if report.log.total else 0)
