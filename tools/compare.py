"""Train and test several configs: python tools/compare.py CONFIG ... [flags]."""

from mmdet.programs.commands.compare import main

if __name__ == '__main__':
    main()
