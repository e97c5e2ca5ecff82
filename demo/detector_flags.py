"""The flags of a demo that choose the detector, and the detector they choose."""

import argparse

from mmdet.core.options import OptionsAction


def add_detector_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', nargs='?', help='a file or an http(s) address')
    parser.add_argument('--device', help='cpu, cuda or cuda:N; default: the GPU if there is one')
    parser.add_argument('--no-graphs', action='store_true', help='no CUDA graphs on a GPU')
    parser.add_argument('--amp', choices=('bf16', 'fp16'), help='mixed precision')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionsAction,
        metavar='KEY=VALUE',
        help='change config keys: test_dataloader.dataset.pipeline.1.scale="(640,360)"',
    )
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='load checkpoints that run code; only files of known origin',
    )


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
