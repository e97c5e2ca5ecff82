"""The `vfe` command: `vfe train CONFIG` is `python tools/train.py CONFIG`, from any folder."""

import importlib
import sys

from mmdet import __version__

VERBS = {
    'train': 'train a model',
    'test': 'test a checkpoint',
    'eval': 'score a results file',
    'detect': 'detect on a video, a folder, a camera or a stream',
    'convert': 'labels of videos to CocoVID JSON',
    'check': 'look for every fault of a dataset',
    'browse': 'show what a config feeds to its model',
    'analyse': 'show what a results file gets right and wrong',
    'compare': 'train and test several configs with several seeds',
    'benchmark': 'measure a part of the toolbox',
    'print_config': 'print a config, or what differs between two',
    'convert_checkpoint': 'use weights of another code base',
    'doctor': 'say whether training and testing can work here',
}


def main() -> int | None:
    if len(sys.argv) < 2 or sys.argv[1] in ('-h', '--help'):
        print(f'vfe.pytorch {__version__}: vfe COMMAND ..., and vfe COMMAND --help\n')
        print('\n'.join(f'  {verb:20}{what}' for verb, what in VERBS.items()))
        return 0
    if sys.argv[1] not in VERBS:
        print(f'vfe: no command {sys.argv[1]!r}; known: {", ".join(VERBS)}', file=sys.stderr)
        return 2
    verb = sys.argv.pop(1)
    sys.argv[0] = f'vfe {verb}'
    return importlib.import_module(f'mmdet.programs.commands.{verb}').main()
