"""Show what a results file gets right and wrong: curves, confusions, tables, frames, one page."""

import argparse

from mmdet.programs.commands.flags import add_options


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file; its test dataset is the ground truth')
    parser.add_argument('results', help='.pkl of tools/test.py --out, or COCO .json')
    parser.add_argument('--baseline', metavar='OTHER.pkl', help='results to compare with')
    parser.add_argument(
        '--out', default='', metavar='DIR', help='default: analysis in the work dir'
    )
    parser.add_argument(
        '--score-thr', type=float, default=0.3, help='of confusions, mistakes and drawings (0.3)'
    )
    parser.add_argument('--num', type=int, default=20, help='frames of each kind, at most (20)')
    parser.add_argument(
        '--no-frames', action='store_true', help='draw no frames: needs no image files'
    )
    add_options(
        parser,
        '--eval-options',
        'motion_file=FILE.mat, frame_list=FILE.txt, classes=[a,b], metrics=vid',
    )
    add_options(
        parser, '--cfg-options', 'change config keys: test_dataloader.dataset.img_prefix=DIR'
    )
    return parser.parse_args(argv)


def main() -> None:
    args = parse_args()
    from mmdet.apis.common import plain_errors

    with plain_errors():
        from mmdet.programs.analyse.analyze_results import analyze_results

        page = analyze_results(
            args.config,
            args.results,
            baseline=args.baseline,
            out=args.out,
            score_thr=args.score_thr,
            num=args.num,
            frames=not args.no_frames,
            eval_options=args.eval_options,
            cfg_options=args.cfg_options,
        )
    print(f'Written: {page}')
