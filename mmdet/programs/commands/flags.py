"""Flags that several commands have."""

import argparse
import os
import sys

from mmdet.core.options import OptionsAction


def add_options(parser: argparse.ArgumentParser, flag: str, help: str) -> None:
    """A flag that takes KEY=VALUE pairs."""
    parser.add_argument(flag, nargs='+', action=OptionsAction, metavar='KEY=VALUE', help=help)


def add_old_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--options', nargs='+', action=OptionsAction, help=argparse.SUPPRESS)


def take_old_options(parser: argparse.ArgumentParser, args: argparse.Namespace, flag: str) -> None:
    """`--options`, the name of `flag` in 1.x."""
    if not args.options:
        return
    name = flag.removeprefix('--').replace('-', '_')
    if getattr(args, name):
        parser.error(f'--options is the old name of {flag}: give one of them')
    print(f'--options is deprecated: use {flag}', file=sys.stderr)
    setattr(args, name, args.options)


def add_device_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--device', help='cpu, cuda or cuda:N; default: the GPU if there is one')
    parser.add_argument('--amp', choices=('bf16', 'fp16'), help='mixed precision')
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='load checkpoints that run code; only files of known origin',
    )


def add_launcher_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--launcher', choices=('none', 'pytorch', 'slurm', 'mpi'), default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, help=argparse.SUPPRESS)


def take_local_rank(args: argparse.Namespace) -> None:
    """As launchers of old versions of PyTorch hand it over."""
    if args.local_rank is not None:
        os.environ.setdefault('LOCAL_RANK', str(args.local_rank))


def add_detector_flags(parser: argparse.ArgumentParser) -> None:
    """Those of `make_detector`."""
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', nargs='?', help='a file or an http(s) address')
    add_device_flags(parser)
    parser.add_argument('--no-graphs', action='store_true', help='no CUDA graphs on a GPU')
    example = 'test_dataloader.dataset.pipeline.1.scale="(640,360)"'
    add_options(parser, '--cfg-options', f'change config keys: {example}')


def make_detector(args: argparse.Namespace, score_thr: float):
    """The `VideoDetector` of parsed flags; says so when its weights are random."""
    from mmdet.apis import VideoDetector  # seconds: not before the flags are known to be right
    from mmdet.engine.config_load import load_config

    detector = VideoDetector(
        load_config(args.config, args.cfg_options),
        args.checkpoint,
        args.device,
        args.amp,
        score_thr,
        trust_checkpoint=args.trust_checkpoint,
        graphs=not args.no_graphs,
    )
    if args.checkpoint is None:
        print('No checkpoint given: the weights are random, and so is what they find.', flush=True)
    return detector
