"""Use weights of another code base: convert_checkpoint.py --from mega IN.pth OUT.pth."""

from mmdet.programs.commands.convert_checkpoint import main

if __name__ == '__main__':
    main()
