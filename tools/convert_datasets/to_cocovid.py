"""Labels of videos in common formats to CocoVID JSON."""

from mmdet.programs.commands.convert import main

if __name__ == '__main__':
    main()
