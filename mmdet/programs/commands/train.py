"""Train a model: tools/train.py CONFIG [flags]."""

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
    parser = argparse.ArgumentParser(description='Train the model of a config.')
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', default='', help='default: ./work_dirs/<config name>')
    resume = parser.add_mutually_exclusive_group()
    resume.add_argument('--resume-from', metavar='FILE', help='go on from this checkpoint')
    resume.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='auto|FILE',
        help='auto: go on from the newest whole checkpoint of the work dir, if there is one',
    )
    parser.add_argument('--no-validate', action='store_true', help='do not score while training')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='multiply the learning rate by (batch of all GPUs) / auto_scale_lr.base_batch_size',
    )
    parser.add_argument('--seed', type=int, help='default: a random one, which is logged')
    parser.add_argument('--deterministic', action='store_true', help='slower on a GPU')
    parser.add_argument(
        '--graphs',
        action='store_true',
        help='backbone and neck as CUDA graphs: pays for small batches of few sizes',
    )
    parser.add_argument(
        '--compile',
        action='store_true',
        help='torch.compile the parts of fixed structure, backbone and neck: pays in long runs',
    )
    gpus = parser.add_mutually_exclusive_group()
    gpus.add_argument(
        '--gpus', type=int, metavar='N', help='0: CPU, 1: one GPU; more: use tools/dist_train.sh'
    )
    gpus.add_argument(
        '--gpu-ids', type=int, nargs='+', metavar='I', help='number of the one GPU to use'
    )
    add_device_flags(parser)
    add_launcher_flags(parser)
    example = 'train_dataloader.dataset.datasets.0.pipeline.2.scale="(640,360)"'
    add_options(
        parser,
        '--cfg-options',
        f'change config keys: optim_wrapper.optimizer.lr=0.01 {example}',
    )
    add_old_options(parser)
    args = parser.parse_args(argv)
    take_old_options(parser, args, '--cfg-options')
    take_local_rank(args)
    args.device = args.device or _device(parser, args)
    return args


def _device(parser: argparse.ArgumentParser, args: argparse.Namespace) -> str | None:
    """What 1.x's --gpus and --gpu-ids mean for one process."""
    count = args.gpus if args.gpus is not None else len(args.gpu_ids or [])
    if count > 1:
        parser.error(
            f'one process uses one GPU. For {count} GPUs: tools/dist_train.sh {args.config} {count}'
        )
    if args.gpus == 0:
        return 'cpu'
    return f'cuda:{args.gpu_ids[0]}' if args.gpu_ids else None


def main() -> None:
    args = parse_args()
    from mmdet.apis import train
    from mmdet.apis.common import plain_errors

    with plain_errors():
        train(
            args.config,
            work_dir=args.work_dir,
            resume=args.resume_from or args.resume or False,
            validate=not args.no_validate,
            amp=args.amp,
            auto_scale_lr=args.auto_scale_lr,
            seed=args.seed,
            deterministic=args.deterministic,
            graphs=args.graphs,
            compile=args.compile,
            cfg_options=args.cfg_options,
            launcher=args.launcher,
            device=args.device,
            trust_checkpoint=args.trust_checkpoint,
        )
