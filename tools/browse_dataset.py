"""Show what a config feeds to its model: clips after all transforms, with boxes and tracks."""

from mmdet.programs.commands.browse import main

if __name__ == '__main__':
    main()
