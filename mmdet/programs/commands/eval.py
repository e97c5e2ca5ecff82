"""Score a results file without a model: tools/eval.py CONFIG R.pkl --eval bbox [flags]."""

import argparse
import sys

from mmdet.programs.commands.flags import add_old_options, add_options, take_old_options

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
    add_options(
        parser,
        '--eval-options',
        'motion_file=FILE.mat, frame_list=FILE.txt, classes=[a,b], metrics=vid',
    )
    add_old_options(parser)
    example = 'test_dataloader.dataset.ann_file=FILE.json'
    add_options(parser, '--cfg-options', f'change config keys: {example}')
    args = parser.parse_args(argv)
    _check(parser, args)
    return args


def _check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    given = [r for r in (args.results, args.results_flag) if r]
    if len(given) != 1:
        parser.error('give one results file, after the config or as --out FILE')
    args.results = given[0]
    take_old_options(parser, args, '--eval-options')
    if 'track' in args.eval:
        print('--eval track: tracks are not scored, only boxes', file=sys.stderr)


def main() -> None:
    args = parse_args()
    from mmdet.apis.common import plain_errors
    from mmdet.apis.score_results import evaluate_config

    wanted = {protocol for name in args.eval for protocol in PROTOCOLS.get(name, ())}
    with plain_errors():
        evaluate_config(
            args.config,
            args.results,
            metrics=tuple(sorted(wanted, reverse=True)) or None,
            work_dir=args.work_dir,
            eval_options=args.eval_options,
            cfg_options=args.cfg_options,
        )
