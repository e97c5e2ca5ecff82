"""Score a results file: python tools/eval.py CONFIG R.pkl [flags], or vfe eval."""

from mmdet.programs.commands.eval import main

if __name__ == '__main__':
    main()
