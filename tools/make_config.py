"""Write a config for your own dataset: a base experiment with your classes and files."""

import argparse
import shlex
from pathlib import Path


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--ann-train', type=Path, required=True, metavar='A.json')
    parser.add_argument('--ann-val', type=Path, required=True, metavar='B.json')
    parser.add_argument(
        '--img-root', type=Path, required=True, metavar='DIR', help='file names start from it'
    )
    parser.add_argument(
        '--img-root-val', type=Path, metavar='DIR', help='that of validation (default: the same)'
    )
    parser.add_argument(
        '--base',
        type=Path,
        required=True,
        metavar='CONFIG',
        help='model and schedule, such as configs/vid/selsa/selsa_r50_dc5_7x.py',
    )
    parser.add_argument('-o', '--output', type=Path, required=True, metavar='MY_CONFIG.py')
    parser.add_argument('--overwrite', action='store_true', help='replace an older MY_CONFIG.py')
    return parser.parse_args(argv)


def main() -> None:
    args = parse_args()
    from mmdet.apis.common import plain_errors
    from mmdet.programs.make_config import OwnData, make_config

    data = OwnData(args.ann_train, args.ann_val, args.img_root, args.img_root_val)
    with plain_errors():
        classes = make_config(args.base, data, args.output, args.overwrite)
    print(f'Wrote {args.output}: {len(classes)} classes ({", ".join(classes)})')
    print(f'Train with: python tools/train.py {shlex.quote(str(args.output))}')


if __name__ == '__main__':
    main()
