"""Print a config: python tools/misc/print_config.py CONFIG [flags]."""

from mmdet.programs.commands.print_config import main

if __name__ == '__main__':
    main()
