"""Score a results file without a model: python tools/eval.py CONFIG R.pkl --eval bbox [flags]."""

import argparse
import sys

from mmdet.core.options import OptionsAction

PROTOCOLS = {'bbox': ('vid', 'coco'), 'vid': ('vid',), 'coco': ('coco',)}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Score a results file against the test annotations of a config.'
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('results', nargs='?', help='.pkl of tools/test.py --out, or COCO .json')
    parser.add_argument('--out', dest='results_flag', metavar='FILE', help='the same, as in 1.x')
    parser.add_argument(
        '--eval',
        nargs='+',
        default=['bbox'],
        choices=[*PROTOCOLS, 'track'],
        help='bbox: both protocols (default)',
    )
    parser.add_argument('--work-dir', default='', help='default: ./work_dirs/<config name>')
    parser.add_argument(
        '--eval-options',
        nargs='+',
        action=OptionsAction,
        metavar='KEY=VALUE',
        help='motion_file=FILE.mat, frame_list=FILE.txt, classes=[a,b], metrics=vid',
    )
    parser.add_argument('--options', nargs='+', action=OptionsAction, help=argparse.SUPPRESS)
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionsAction,
        metavar='KEY=VALUE',
        help='change config keys: test_dataloader.dataset.ann_file=FILE.json',
    )
    args = parser.parse_args(argv)
    _check(parser, args)
    return args


def _check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    given = [r for r in (args.results, args.results_flag) if r]
    if len(given) != 1:
        parser.error('give one results file, after the config or as --out FILE')
    args.results = given[0]
    if args.options and args.eval_options:
        parser.error('--options is the old name of --eval-options: give one of them')
    if args.options:
        print('--options is deprecated: use --eval-options', file=sys.stderr)
        args.eval_options = args.options
    if 'track' in args.eval:
        print('--eval track: tracks are not scored, only boxes', file=sys.stderr)


def main() -> None:
    args = parse_args()
    from mmdet.apis.common import plain_errors
    from mmdet.apis.score_results import evaluate_config
    from mmdet.core.errors import EvaluationError

    wanted = {protocol for name in args.eval for protocol in PROTOCOLS.get(name, ())}
    with plain_errors():
        try:
            evaluate_config(
                args.config,
                args.results,
                metrics=tuple(sorted(wanted, reverse=True)) or None,
                work_dir=args.work_dir,
                eval_options=args.eval_options,
                cfg_options=args.cfg_options,
            )
        except EvaluationError as error:
            sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
