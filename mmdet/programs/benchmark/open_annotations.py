"""Open one annotation file in this fresh process; print seconds and megabytes as JSON.

    python open_annotations.py {index,json} FILE

`index` opens a CocoVideoIndex, `json` calls json.load, the floor of any reader of dicts.
"""

import gc
import json
import sys
import time


def megabytes(field: str) -> float:
    """A figure of /proc/self/status: VmRSS (now) or VmHWM (peak), in MB."""
    with open('/proc/self/status') as status:
        (line,) = (line for line in status if line.startswith(field))
    return int(line.split()[1]) * 1024 / 1e6


def main() -> None:
    how, path = sys.argv[1:]
    if how == 'index':
        from mmdet.datasets.parsers import CocoVideoIndex
    with open('/proc/self/clear_refs', 'w') as file:
        file.write('5')  # the peak counts from here
    before = megabytes('VmRSS')
    wall, cpu = time.perf_counter(), time.process_time()
    if how == 'index':
        opened = CocoVideoIndex.open(path)
    else:
        gc.disable()  # its best case
        with open(path) as file:
            opened = json.load(file)
    result = {
        'wall': time.perf_counter() - wall,
        'cpu': time.process_time() - cpu,
        'peak': megabytes('VmHWM') - before,
        'kept': megabytes('VmRSS') - before,
        'images': len(opened if how == 'index' else opened['images']),
    }
    print(json.dumps(result))


if __name__ == '__main__':
    main()
