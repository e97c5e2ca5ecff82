"""Render sample videos, train, test, score and draw: what `make quickstart` runs."""

import argparse
import sys
from pathlib import Path


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--config', default='configs/sample/faster_rcnn_r18.py')
    parser.add_argument('--work-dir', default='', help='default: work_dirs/<config name>')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        help='passed on to tools/train.py and tools/test.py',
    )
    return parser.parse_args(argv)


def main() -> None:
    args = parse_args()
    from mmdet.apis.common import plain_errors
    from mmdet.programs.quickstart import quickstart

    checkout = Path(__file__).resolve().parents[1]
    try:
        with plain_errors():
            quickstart(checkout, args.config, args.work_dir, args.cfg_options)
    except KeyboardInterrupt:
        sys.exit('\nquickstart: interrupted; `make quickstart` starts again.')


if __name__ == '__main__':
    main()
