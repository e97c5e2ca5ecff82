"""ImageNet VID annotations to CocoVID: imagenet_vid_train.json and imagenet_vid_val.json."""

import argparse
import sys
from pathlib import Path

from mmdet.core.errors import ConversionError
from mmdet.programs.convert import VID_LISTS, convert_vid


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('-i', '--input', type=Path, required=True, help='the ILSVRC folder')
    parser.add_argument('-o', '--output', type=Path, required=True, help='folder for the JSON')
    parser.add_argument('--splits', nargs='+', choices=VID_LISTS, default=list(VID_LISTS))
    parser.add_argument('--workers', type=int, help='processes reading XML (one per CPU, up to 8)')
    args = parser.parse_args()
    try:
        convert_vid(args.input, args.output, args.splits, args.workers)
    except (ConversionError, OSError) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
