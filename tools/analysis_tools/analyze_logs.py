"""Curves of trainings over each other, and a table of what they ended with."""

import argparse
import sys


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'logs', nargs='+', metavar='LOG_OR_WORK_DIR', help='work dirs, or their scalars.json'
    )
    parser.add_argument(
        '--keys', nargs='+', metavar='KEY', help='such as loss loss_cls vid/AP50 (default: totals)'
    )
    parser.add_argument('--out', metavar='curves.png', help='draw the curves there')
    parser.add_argument('--csv', metavar='FILE', help='write all points there')
    parser.add_argument(
        '--smooth', type=int, default=0, metavar='N', help='average losses over N logged rows'
    )
    args = parser.parse_args(argv)
    if args.smooth < 0:
        parser.error(f'--smooth must be 0 or more, got {args.smooth}')
    return args


def main() -> None:
    args = parse_args()
    from mmdet.programs.analyse.training_logs import analyze_logs

    try:
        analyze_logs(args.logs, args.keys, args.out, args.csv, args.smooth)
    except (OSError, ValueError) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
