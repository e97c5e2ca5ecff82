"""Render the sample dataset: a small labelled video set in the ILSVRC layout, made by code."""

import argparse
import sys
from pathlib import Path

from mmdet.programs.sample import SampleSpec, make_sample_vid


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('-o', '--output', type=Path, required=True, help='folder, for data/sample')
    parser.add_argument('--seed', type=int, default=SampleSpec.seed)
    parser.add_argument(
        '--videos',
        type=int,
        nargs=2,
        metavar=('TRAIN', 'VAL'),
        default=(SampleSpec.train_videos, SampleSpec.val_videos),
        help='number of videos (default: %(default)s)',
    )
    parser.add_argument('--images', type=int, default=SampleSpec.det_images, help='size of DET')
    args = parser.parse_args()
    try:
        make_sample_vid(args.output, SampleSpec(args.seed, *args.videos, args.images))
    except (ValueError, OSError) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
