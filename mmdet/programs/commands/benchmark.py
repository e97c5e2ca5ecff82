"""Measure a part of the toolbox: python tools/benchmark.py SUBJECT [flags]."""

import argparse
import importlib
import sys
from pathlib import Path

SUBJECTS = {
    'data': 'opening an annotation file of the size of ImageNet VID train; loading clips',
    'eval': 'scoring the results of a validation set',
    'gpu': 'all methods in all precisions on the GPU of this machine, in one run',
    'infer': 'frames of the model of a config, and their stages',
    'levels': 'the head of an EOVOD per pyramid level, with its size prior and without it',
    'train': 'training steps of the model of a config',
}
MODULES = {'data': 'annotations_and_clips', 'eval': 'scoring', 'train': 'steps'}


def main(argv: list[str] | None = None) -> None:
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        description='Measure a part of the toolbox, after warm-up.',
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='\n'.join(f'{name:6} {what}' for name, what in SUBJECTS.items()),
    )
    parser.add_argument('subject', choices=SUBJECTS, help='what to measure; then its own flags')
    subject = parser.parse_args(argv[:1]).subject
    module = importlib.import_module(f'mmdet.programs.benchmark.{MODULES.get(subject, subject)}')
    own = argparse.ArgumentParser(
        prog=f'{Path(sys.argv[0]).name} {subject}',
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(own)
    module.run(own.parse_args(argv[1:]))
