"""Test a checkpoint: python tools/test.py CONFIG [CHECKPOINT] [flags], or vfe test."""

from mmdet.programs.commands.test import main

if __name__ == '__main__':
    main()
