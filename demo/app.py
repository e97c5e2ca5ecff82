"""Detect on videos in the browser: python demo/app.py CONFIG [CHECKPOINT] [flags]."""

import argparse
import importlib.util
import sys

from mmdet.programs.commands.flags import add_detector_flags, make_detector


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='A page in the browser: drop a video, see boxes while it runs, scrub, download.'
    )
    add_detector_flags(parser)
    parser.add_argument('--score-thr', type=float, default=0.3, help='of the page at its start')
    parser.add_argument(
        '--causal', action='store_true', help='past frames only, as the page is at its start'
    )
    parser.add_argument('--host', default='127.0.0.1', help='0.0.0.0 serves the network, too')
    parser.add_argument(
        '--host-name',
        action='append',
        default=[],
        metavar='NAME',
        help='a further name of this machine, as in the address that visitors type',
    )
    parser.add_argument('--port', type=int, default=7860, help='0 takes a free one')
    args = parser.parse_args(argv)
    if not 0 <= args.score_thr <= 1:
        parser.error(f'--score-thr must be in 0..1, not {args.score_thr}')
    return args


def main() -> int:
    args = parse_args()
    if importlib.util.find_spec('gradio') is None:
        sys.exit('error: the page needs gradio, which is not installed: pip install -e ".[app]"')
    from mmdet.apis.common import plain_errors
    from mmdet.core.errors import AddressError
    from mmdet.programs.app.server import listen, serve

    try:
        with plain_errors(), listen(args.host, args.port) as listener:
            detector = make_detector(args, args.score_thr)
            serve(detector, listener, args.config, args.score_thr, args.causal, args.host_name)
    except AddressError as error:
        sys.exit(f'error: {error}')
    except KeyboardInterrupt:  # while loading
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
