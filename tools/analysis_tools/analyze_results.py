"""Show what a results file gets right and wrong, on one page."""

from mmdet.programs.commands.analyse import main

if __name__ == '__main__':
    main()
