"""Test a checkpoint: tools/test.py CONFIG [CHECKPOINT] [flags]."""

import argparse

from mmdet.programs.commands.flags import (
    add_device_flags,
    add_launcher_flags,
    add_old_options,
    add_options,
    take_local_rank,
    take_old_options,
)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Test a checkpoint on the test set of a config.')
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', nargs='?', help='a file or an http(s) address')
    parser.add_argument('--checkpoint', dest='checkpoint_flag', metavar='FILE', help='the same')
    parser.add_argument('--out', metavar='R.pkl', help='write the detections there')
    parser.add_argument('--eval', nargs='+', metavar='bbox', help='compute the metrics')
    parser.add_argument(
        '--format-only', action='store_true', help='write a COCO results JSON, compute nothing'
    )
    parser.add_argument('--work-dir', default='', help='default: ./work_dirs/<config name>')
    parser.add_argument('--show-dir', metavar='DIR', help='write frames with detections there')
    parser.add_argument('--show-score-thr', type=float, default=0.3, help='of what is drawn')
    parser.add_argument('--fuse-conv-bn', action='store_true', help='always done; for 1.x scripts')
    parser.add_argument('--no-graphs', action='store_true', help='no CUDA graphs on a GPU')
    add_options(
        parser,
        '--eval-options',
        'arguments of the metric, e.g. motion_file=vid_groundtruth_motion_iou.mat',
    )
    add_old_options(parser)
    example = 'test_dataloader.dataset.pipeline.1.scale="(640,360)"'
    add_options(parser, '--cfg-options', f'change config keys: {example}')
    add_device_flags(parser)
    add_launcher_flags(parser)
    parser.add_argument(
        '--causal', action='store_true', help='references from past frames only, as for live video'
    )
    parser.add_argument(
        '--allow-partial', action='store_true', help='test although weights are missing'
    )
    args = parser.parse_args(argv)
    _check(parser, args)
    return args


def _check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    given = [c for c in (args.checkpoint, args.checkpoint_flag) if c]
    if len(given) != 1:
        parser.error('give one checkpoint, after the config or as --checkpoint FILE')
    args.checkpoint = given[0]
    if not (args.out or args.eval or args.format_only or args.show_dir):
        parser.error('nothing to do: give at least one of --out, --eval, --format-only, --show-dir')
    if args.format_only and args.eval:
        parser.error('--format-only writes results without scoring them: omit --eval')
    if args.out and not args.out.endswith(('.pkl', '.pickle')):
        parser.error(f'--out must end in .pkl, not {args.out}')
    unknown = set(args.eval or []) - {'bbox', 'vid'}
    if unknown:
        parser.error(f'--eval knows bbox (and vid, the same), not {", ".join(sorted(unknown))}')
    take_old_options(parser, args, '--eval-options')
    take_local_rank(args)


def main() -> None:
    args = parse_args()
    from mmdet.apis import test
    from mmdet.apis.common import plain_errors

    with plain_errors():
        test(
            args.config,
            args.checkpoint,
            out=args.out,
            evaluate=bool(args.eval),
            format_only=args.format_only,
            show_dir=args.show_dir,
            show_score_thr=args.show_score_thr,
            work_dir=args.work_dir,
            eval_options=args.eval_options,
            cfg_options=args.cfg_options,
            fuse_conv_bn=args.fuse_conv_bn,
            amp=args.amp,
            launcher=args.launcher,
            device=args.device,
            trust_checkpoint=args.trust_checkpoint,
            allow_partial=args.allow_partial,
            causal=args.causal,
            graphs=not args.no_graphs,
        )
