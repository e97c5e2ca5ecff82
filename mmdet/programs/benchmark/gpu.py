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
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from mmengine import Config
from torch import nn

from mmdet.programs.benchmark.commands import measure_commands
from mmdet.programs.benchmark.frames import MODES, agreement, measure
from mmdet.programs.benchmark.made_up import build_model
from mmdet.programs.benchmark.steps import measure_step
from mmdet.programs.benchmark.timing import describe_machine, print_table

BASE = Path(__file__).resolve().parents[3] / 'configs/_base_/models'
# name -> model config, and changes of it
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
FRAME_COLUMNS = dict(
    limit_ms='.2f', as_fp32='.1%', launches='.0f', waits='.1f', peak_mb='.0f', first_ms='.0f'
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--out', type=Path, help='folder for gpu.json')
    parser.add_argument('--methods', nargs='+', default=[''], help='parts of names; default: all')
    parser.add_argument('--modes', nargs='+', choices=MODES, default=list(MODES))
    parser.add_argument('--batches', nargs='+', type=int, default=[1, 8])
    parser.add_argument('--steps', type=int, default=20, help='timed; default: %(default)s')
    parser.add_argument('--no-train', action='store_true', help='frames only')
    parser.add_argument('--no-commands', action='store_true', help='no whole commands')


def run(args: argparse.Namespace) -> None:
    print(describe_machine())
    on_gpu = torch.cuda.is_available()
    if not on_gpu:
        print('No GPU: small models, a few frames; the figures mean nothing.')
        args.steps, args.batches = 1, [b for b in args.batches if b <= 2] or [2]
        args.modes = [m for m in args.modes if m in ('fp32', 'bf16')]
    bench = Bench(args, on_gpu)
    bench.frames()
    if not args.no_train:
        bench.training()
    if not args.no_commands:
        bench.results['commands'] = measure_commands(on_gpu)
    bench.write()
    if bench.failures:
        sys.exit('\n'.join(['Failed:', *bench.failures]))


class Bench:
    """Measures one row after the other; a row that fails is told, and the others go on."""

    def __init__(self, args: argparse.Namespace, on_gpu: bool) -> None:
        self.args, self.on_gpu = args, on_gpu
        self.device = torch.device('cuda' if on_gpu else 'cpu')
        self.known = METHODS if on_gpu else TOY_METHODS
        self.main = dict(list(self.known.items())[:MAIN])
        self.built: dict[str, nn.Module] = {}
        self.size = (563, 1000) if on_gpu else (96, 160)
        self.failures: list[str] = []
        self.results = dict(machine=describe_machine(), size=self.size, failures=self.failures)

    def models(self, methods: Mapping[str, tuple[str, dict]]) -> Iterator[tuple[str, nn.Module]]:
        """Those that were asked for, by name; each is built once."""
        for name, (config, changes) in methods.items():
            if any(part in name for part in self.args.methods):
                if name not in self.built:
                    cfg = Config(dict(model=Config.fromfile(BASE / f'{config}.py').model))
                    cfg.merge_from_dict({f'model.{key}': value for key, value in changes.items()})
                    self.built[name] = build_model(cfg.model, self.size)
                yield name, self.built[name]

    def row(self, rows: list[dict], place: dict, function: Callable[..., dict], *args) -> None:
        """Add what the function gives, with its place."""
        what = ', '.join(map(str, place.values()))
        start = time.perf_counter()
        try:
            rows.append(place | function(*args))
        except Exception as error:  # the other rows are still worth having
            self.failures.append(f'{what}: {error!r}')
            print(f'FAILED: {self.failures[-1]}', flush=True)
        else:
            took = time.perf_counter() - start
            print(f'{what}: {rows[-1]["ms"]:.2f} ms ({took:.0f} s)', flush=True)
        if self.on_gpu:
            torch.cuda.empty_cache()

    def frames(self) -> None:
        rows = self.results['frames'] = []
        for name, model in self.models(self.known):
            for batch in self.args.batches:
                exact = []  # what fp32 finds
                for mode in self.args.modes:
                    if name in self.main or mode == 'bf16' or (mode == 'fp32' and batch == 1):
                        place = dict(method=name, mode=mode, batch=batch)
                        what = (model, mode, batch, self.size, self.args.steps, self.device)
                        self.row(rows, place, _frame_row, exact, *what)
        self.show(f'One frame of {self.size[1]}x{self.size[0]}, per frame', rows, FRAME_COLUMNS)

    def training(self) -> None:
        rows = self.results['train'] = []
        for name, model in self.models(self.main):
            modes = ('tf32', 'bf16', 'bf16 graphs') if name.startswith('MAMBA') else ('bf16',)
            for batch in self.args.batches:
                for mode in modes if self.on_gpu else ('fp32',):
                    place = dict(method=name, training=mode, clips=batch)
                    what = (model, mode, batch, self.size, 8 if self.on_gpu else 1, self.device)
                    self.row(rows, place, measure_step, *what)
        self.show('One training step', rows, dict(waits='.0f', peak_mb='.0f'))

    def show(self, title: str, rows: list[dict], columns: dict[str, str]) -> None:
        columns = dict(ms='.2f', **columns)
        lines = [
            [str(value) for key, value in list(row.items())[:3]]
            + ['-' if row[key] is None else f'{row[key]:{form}}' for key, form in columns.items()]
            for row in rows
        ]
        print_table(title, ['method', 'dtype', 'batch', *columns], lines)
        self.write()

    def write(self) -> None:
        """What was measured so far."""
        if self.args.out is not None:
            self.args.out.mkdir(parents=True, exist_ok=True)
            (self.args.out / 'gpu.json').write_text(json.dumps(self.results, indent=1))


def _frame_row(exact: list, model: nn.Module, mode: str, *rest) -> dict:
    got = vars(measure(model, mode, *rest))
    found = got.pop('found')
    if mode == 'fp32':
        exact.append(found)
    return got | dict(as_fp32=agreement(exact[0], found) if exact else None)
