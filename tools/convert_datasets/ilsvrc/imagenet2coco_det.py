"""ImageNet DET annotations to COCO: imagenet_det_30plus1cls.json."""

import argparse
import sys
from pathlib import Path

from mmdet.core.errors import ConversionError
from mmdet.programs.convert import convert_det


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('-i', '--input', type=Path, required=True, help='the ILSVRC folder')
    parser.add_argument('-o', '--output', type=Path, required=True, help='folder for the JSON')
    parser.add_argument('--workers', type=int, help='processes reading XML (one per CPU, up to 8)')
    args = parser.parse_args()
    try:
        convert_det(args.input, args.output, args.workers)
    except (ConversionError, OSError) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
