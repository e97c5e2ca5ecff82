"""Print a config as training and testing see it, or what differs between two."""

import argparse
from pathlib import Path

from mmengine.config import Config

from mmdet.programs.commands.flags import add_options


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__ + ' All base files are merged; mistakes are errors, as in training.'
    )
    parser.add_argument('config', type=Path, help='config file')
    example = 'optim_wrapper.optimizer.lr=0.01'
    add_options(parser, '--cfg-options', f'change config keys: {example}')
    what = parser.add_mutually_exclusive_group()
    what.add_argument('--key', metavar='A.B.0', help='only this part; digits index lists')
    what.add_argument(
        '--diff',
        type=Path,
        metavar='OTHER',
        help='print the keys in which another config differs: "a.b.c: CONFIG -> OTHER"',
    )
    parser.add_argument('--out', type=Path, metavar='FILE.py', help='write it there instead')
    args = parser.parse_args(argv)
    if args.out is not None and not args.diff and args.out.suffix != '.py':
        parser.error(f'a config is a .py file: --out cannot be {args.out}')
    return args


def text_of(args: argparse.Namespace) -> str:
    from mmdet.apis.common import checked_config
    from mmdet.engine.config_load import value_at
    from mmdet.programs.compare.config_diff import differences

    cfg = checked_config(args.config, args.cfg_options)
    if args.diff:
        lines = differences(cfg, checked_config(args.diff))
        found = [f'{key}: {old} -> {new}\n' for key, old, new in lines]
        return ''.join(found) or 'No key differs.\n'
    if args.key:
        parts = args.key.split('.')
        start = max((i for i, part in enumerate(parts) if not part.isdigit()), default=0)
        cfg = Config({'_'.join(parts[start:]): value_at(cfg, args.key)})  # pipeline.1: pipeline_1
    return cfg.pretty_text


def main() -> None:
    args = parse_args()
    from mmdet.apis.common import plain_errors
    from mmdet.core.fileio import atomic_write

    with plain_errors():
        text = text_of(args)
        if args.out is not None:
            with atomic_write(args.out) as file:
                file.write(text)
    print(text if args.out is None else f'Wrote {args.out}\n', end='')
