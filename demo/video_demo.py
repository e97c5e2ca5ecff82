"""Detect on a video: python demo/video_demo.py INPUT CONFIG [CHECKPOINT] [flags]."""

import sys

from mmdet.programs.commands.detect import main

if __name__ == '__main__':
    sys.exit(main())
