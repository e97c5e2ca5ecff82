"""Train a model: python tools/train.py CONFIG [flags], or vfe train."""

from mmdet.programs.commands.train import main

if __name__ == '__main__':
    main()
