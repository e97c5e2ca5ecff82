"""Measure a part of the toolbox: python tools/benchmark.py {data,eval,gpu,infer,train} [flags]."""

from mmdet.programs.commands.benchmark import main

if __name__ == '__main__':
    main()
