"""All methods in all precisions on this machine's GPU: agreement, speed, launches, waits, memory.

One table of frames (milliseconds per frame, results read one batch late, memories at their cap),
one of training steps, and whole commands. `limit` is what backbone, neck and the proposal network's
convolutions take alone, as one CUDA graph. Without a GPU the same runs with small models and few
frames, which tests that it works and measures nothing.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from mmdet.programs.benchmark.frames import MODES, agreement, measure, random_weights
from mmdet.programs.benchmark.machine import describe_machine

BASE = Path(__file__).resolve().parents[3] / 'configs/_base_/models'
# name -> (model config, changes)
METHODS = {
    'Faster R-CNN R-101 DC5': ('faster_rcnn_r50_dc5', {'backbone.depth': 101}),
    'SELSA R-50 DC5': ('selsa_r50_dc5', {}),
    'MAMBA R-101 DC5': ('mamba_r50_dc5', {'detector.backbone.depth': 101}),
    'STPN Swin-T FPN': ('stpn_swint', {}),
    'MAMBA both R-101 DC5': (
        'mamba_r50_dc5',
        {'detector.backbone.depth': 101, 'pixel_memory': dict(type='PixelMemory')},
    ),
    'STPN + SELSA Swin-T FPN': ('stpn_selsa_swint', {}),
    'TDViT-T joint FPN': ('tdvit_t', {}),
    'MEGA R-101 C4': ('../../vid/mega/mega_r101_c4_1x', {}),
    'FCOS R-101 FPN': ('../../vid/fcos/fcos_r101_fpn_3x', {}),
    'EOVOD FCOS R-101 LPN + SPN': ('../../vid/eovod/eovod_fcos_r101_lpn_spn_9x', {}),
    'YOLOX-M': ('yolox_m', {}),
    'EOVOD YOLOX-M LPN + SPN': ('../../vid/eovod/eovod_yolox_m_lpn_spn_90e', {}),
}
# as many are measured in every precision, and in training; the others in bf16, alone in fp32
MAIN = 4
MODES_OF_OTHERS = ('fp32', 'bf16')
TITLES = ('ms', 'limit', 'as fp32', 'launches', 'waits', 'MiB', 'first, ms')
TOY_METHODS = {
    'Faster R-CNN': ('faster_rcnn_r18_narrow', {}),
    'SELSA': ('selsa_r18_narrow', {}),
    'MAMBA': ('mamba_r18_narrow', {}),
    'MAMBA both': ('mamba_full_r18_narrow', {}),
    'STPN': ('stpn_swin_tiny_narrow', {}),
    'TDViT': ('tdvit_tiny_narrow', {}),
    'MEGA': ('mega_r18_narrow', {}),
    'FCOS': ('fcos_r18_narrow', {}),
    'EOVOD': ('eovod_fcos_r18_narrow', {}),
    'YOLOX': ('yolox_nano', {}),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--out', type=Path, help='folder for gpu.json')
    parser.add_argument('--methods', nargs='+', default=[], help='parts of names; default: all')
    parser.add_argument('--modes', nargs='+', choices=MODES, default=list(MODES))
    parser.add_argument('--batches', nargs='+', type=int, default=[1, 8])
    parser.add_argument('--steps', type=int, default=20, help='timed; default: %(default)s')
    parser.add_argument('--no-train', action='store_true', help='frames only')
    parser.add_argument('--no-commands', action='store_true', help='no whole commands')


def run(args: argparse.Namespace) -> None:
    on_gpu = torch.cuda.is_available()
    device = torch.device('cuda' if on_gpu else 'cpu')
    methods, size = (METHODS, (563, 1000)) if on_gpu else (TOY_METHODS, (96, 160))
    if args.methods:
        methods = {n: m for n, m in methods.items() if any(part in n for part in args.methods)}
    print(describe_machine())
    if not on_gpu:
        print('No GPU: small models, a few frames; the figures mean nothing.')
        args.steps, args.batches = 1, [b for b in args.batches if b <= 2] or [2]
        args.modes = [m for m in args.modes if m in ('fp32', 'bf16')]
    results = {'machine': describe_machine(), 'size': size, 'frames': [], 'train': []}
    failures = results['failures'] = []
    show_frames(measure_frames(methods, args, size, device, results['frames'], failures), size)
    write(args.out, results)
    if not args.no_train:
        from mmdet.programs.benchmark.steps import measure_training, show_training

        show_training(measure_training(methods, args, size, device, results['train'], failures))
        write(args.out, results)
    if not args.no_commands:
        from mmdet.programs.benchmark.commands import measure_commands

        results['commands'] = measure_commands(on_gpu)
    write(args.out, results)
    if failures:
        sys.exit('\n'.join(['Failed:', *failures]))


def write(folder: Path | None, results: dict) -> None:
    """What was measured so far."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / 'gpu.json').write_text(json.dumps(results, indent=1))


def build(method: tuple[str, dict], size: tuple[int, int]) -> torch.nn.Module:
    """The model of a method on the CPU, with random weights for frames of (height, width)."""
    import mmengine

    import mmdet.models  # noqa: F401
    from mmdet.registry import MODELS

    name, changes = method
    cfg = mmengine.Config(dict(model=mmengine.Config.fromfile(BASE / f'{name}.py').model))
    cfg.merge_from_dict({f'model.{key}': value for key, value in changes.items()})
    return random_weights(MODELS.build(cfg.model).eval(), size)


def measure_frames(
    methods, args, size, device, rows: list[dict], failures: list[str]
) -> list[dict]:
    for name, method in methods.items():
        model = build(method, size)
        for batch in args.batches:
            exact = None
            for mode in args.modes:
                main = name in list(METHODS)[:MAIN]
                if not main and (mode not in MODES_OF_OTHERS or (mode == 'fp32' and batch > 1)):
                    continue
                start = time.perf_counter()
                try:
                    got = measure(model, mode, batch, size, args.steps, device)
                except Exception as error:  # the other rows are still worth having
                    failures.append(f'{name}, {mode}, batch {batch}: {error!r}')
                    print(f'FAILED: {failures[-1]}', flush=True)
                    continue
                if mode == 'fp32':
                    exact = got.found
                same = agreement(exact, got.found) if exact else None
                row = dict(method=name, mode=mode, batch=batch, as_fp32=same)
                rows.append(row | {k: v for k, v in vars(got).items() if k != 'found'})
                took = time.perf_counter() - start
                print(f'{name}, {mode}, batch {batch}: {got.ms:.2f} ms ({took:.0f} s)', flush=True)
                del got
                if device.type == 'cuda':
                    torch.cuda.empty_cache()
    return rows


def show_frames(rows: list[dict], size: tuple[int, int]) -> None:
    table = Table(title=f'One frame of {size[1]}x{size[0]}, per frame')
    for column in ('method', 'dtype', 'batch', *TITLES):
        table.add_column(column, justify='left' if column == 'method' else 'right')
    for r in rows:
        same = '-' if r['as_fp32'] is None else f'{100 * r["as_fp32"]:.1f} %'
        table.add_row(
            r['method'], r['mode'], str(r['batch']), f'{r["ms"]:.2f}', f'{r["limit_ms"]:.2f}',
            same, f'{r["launches"]:.0f}', f'{r["waits"]:.1f}',
            f'{r["peak_mb"]:.0f}', f'{r["first_ms"]:.0f}',
        )  # fmt: skip
    Console(width=120).print(table)
