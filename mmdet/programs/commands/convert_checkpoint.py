"""Use weights of another code base: convert_checkpoint.py --from mega IN.pth OUT.pth."""

import argparse


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Write a checkpoint of another code base with the names of this one, or the '
        'reverse. Weights that have no place are listed.'
    )
    direction = parser.add_mutually_exclusive_group(required=True)
    direction.add_argument(
        '--from',
        dest='source',
        metavar='FORMAT',
        help='mega: MEGA, RDN and single-frame files of mega.pytorch; vfe2: every model of the '
        "authors' vfe.pytorch 2.x",
    )
    direction.add_argument('--to', dest='target', metavar='FORMAT', help='the reverse')
    parser.add_argument('input', metavar='IN.pth', help='a file, or an http(s) address')
    parser.add_argument('output', metavar='OUT.pth')
    parser.add_argument('--overwrite', action='store_true', help='replace an older OUT.pth')
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='allow code in IN.pth to run: only if you know where it comes from',
    )
    return parser.parse_args(argv)


def main() -> None:
    args = parse_args()
    from mmdet.apis.common import plain_errors
    from mmdet.programs.model_converters import convert_checkpoint

    with plain_errors():
        converted = convert_checkpoint(
            args.input,
            args.output,
            args.source or args.target,
            backwards=args.target is not None,
            trust=args.trust_checkpoint,
            overwrite=args.overwrite,
        )
    print(f'Wrote {args.output}: {converted.what}, {len(converted.weights)} weights')
    if converted.left_out:
        print(f'{len(converted.left_out)} had no place and were left out:')
        print('\n'.join(f'  {name}' for name in converted.left_out))
