"""Look for every fault of a dataset before training does, and show what is in it."""

from mmdet.programs.commands.check import main

if __name__ == '__main__':
    main()
