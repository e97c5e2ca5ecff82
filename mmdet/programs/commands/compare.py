"""Train and test several configs with several seeds: tools/compare.py CONFIG ... [flags]."""

import argparse


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Train and test every config with every seed; write mean and spread of the AP. '
        'Runs that are finished are kept, so the same command goes on after an interruption.'
    )
    parser.add_argument('configs', nargs='+', metavar='CONFIG', help='config files')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2], metavar='N')
    parser.add_argument(
        '--start-from',
        metavar='CONFIG',
        help='a single-frame config that is trained first, once per seed; its weights start '
        'all others',
    )
    parser.add_argument(
        '--frame-list', metavar='FILE', help='another column: AP50 on these frames alone'
    )
    parser.add_argument('--out', default='work_dirs/compare', help='default: %(default)s')
    parser.add_argument(
        '--jobs', type=int, default=1, metavar='N', help='runs at a time, which share the cores'
    )
    args = parser.parse_args(argv)
    if args.jobs < 1:
        parser.error(f'--jobs must be at least 1, not {args.jobs}')
    if len(set(args.seeds)) < len(args.seeds):
        parser.error(f'--seeds names one twice: {args.seeds}')
    return args


def main() -> None:
    args = parse_args()
    from mmdet.apis.common import plain_errors
    from mmdet.programs.compare import compare

    with plain_errors():
        compare(args.configs, args.seeds, args.out, args.start_from, args.frame_list, args.jobs)
