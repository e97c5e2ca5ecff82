"""The index file is rebuilt, never trusted, when it is not what its annotation file says."""

import multiprocessing
import os
import pickle
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from cocovid_oracle import check_against, make_dataset, write

from mmdet.datasets.parsers import CocoVideoIndex, coco_video_parser, index_cache

DATASET = make_dataset()


@pytest.fixture
def builds(monkeypatch) -> list:
    """Grows by one element for each time an annotation file is parsed."""
    calls, read = [], coco_video_parser.read_annotations
    counted = lambda *args: calls.append(args[0]) or read(*args)  # noqa: E731
    monkeypatch.setattr(coco_video_parser, 'read_annotations', counted)
    return calls


@pytest.fixture
def built(tmp_path, builds) -> tuple[Path, Path]:
    """An annotation file and its index file."""
    path = write(tmp_path, DATASET)
    CocoVideoIndex.open(path)
    (index_file,) = (tmp_path / '.ann.json.vfe-cache').iterdir()
    assert len(builds) == 1
    return path, index_file


def check_rebuilt(path: Path, dataset: dict, builds: list) -> None:
    """The next open builds, the one after it maps what that built."""
    before = len(builds)
    for opened in (path, str(path)):
        check_against(CocoVideoIndex.open(opened), dataset)
        assert len(builds) == before + 1


@pytest.mark.parametrize(
    'damage',
    [
        lambda data: data[:100],
        lambda data: data[:18000],
        lambda data: data[:48] + bytes([data[48] ^ 4]) + data[49:],  # one bit of the header
        lambda data: data[:-1] + bytes([data[-1] ^ 4]),
        lambda data: data + b'\0',
        lambda data: b'',
    ],
)
def test_a_damaged_index_is_rebuilt(built, builds, damage):
    """Also where the size and the time of the file say nothing."""
    path, index_file = built
    times, data = index_file.stat(), index_file.read_bytes()
    assert len(data) > 18000
    index_file.write_bytes(damage(data))
    os.utime(index_file, ns=(times.st_atime_ns, times.st_mtime_ns))
    check_rebuilt(path, DATASET, builds)


def test_other_content_of_same_size_and_time(built, builds):
    path, _ = built
    before, other = path.stat(), make_dataset()
    other['images'][0]['file_name'] = other['images'][0]['file_name'][::-1]
    write(path.parent, other)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    check_rebuilt(path, other, builds)
    way = CocoVideoIndex.open(path, load_img_as_vid=True)  # another way of reading
    assert len(builds) == 3 and len(way) == len(other['images'])


def test_read_only_folder(tmp_path, monkeypatch, builds):
    path = write(tmp_path, DATASET)
    path.with_name('.ann.json.vfe-cache').write_text('in the way, even of root')
    monkeypatch.setenv('VFE_CACHE', str(tmp_path / 'elsewhere'))
    check_rebuilt(path, DATASET, builds)
    assert len(list((tmp_path / 'elsewhere').glob('**/ann.json-*/*.index'))) == 1
    monkeypatch.setenv('VFE_CACHE', str(path / 'below a file'))  # no folder at all
    with pytest.warns(UserWarning, match=r'No index of .*ann\.json could be kept.*VFE_CACHE'):
        index = CocoVideoIndex.open(path)
    check_against(index, DATASET)
    check_against(pickle.loads(pickle.dumps(index)), DATASET)


def test_full_disk(tmp_path, monkeypatch):
    path = write(tmp_path, DATASET)
    full = OSError(28, 'No space left on device')
    monkeypatch.setattr(index_cache, '_write_header', Mock(side_effect=full))
    with pytest.warns(UserWarning, match='No space left on device'):
        check_against(CocoVideoIndex.open(path), DATASET)
    assert list(tmp_path.iterdir()) == [path]  # no half-written file


def open_at_once(path, barrier, results, locked):
    if not locked:  # as on a file system without locks
        index_cache._lock = Mock(side_effect=OSError(95, 'Operation not supported'))
    builds, read = [], coco_video_parser.read_annotations
    coco_video_parser.read_annotations = lambda *args: builds.append(1) or read(*args)
    barrier.wait()
    index = CocoVideoIndex.open(path)
    results.put((len(builds), index.ann_boxes.sum(), index.file_name(len(index) - 1)))


@pytest.mark.dist
@pytest.mark.parametrize('locked', [True, False])
def test_builders_at_once(tmp_path, builds, locked):
    dataset = make_dataset((300, 100))
    path = write(tmp_path, dataset)
    fork = multiprocessing.get_context('fork')
    barrier, results = fork.Barrier(4), fork.Queue()
    arguments = (path, barrier, results, locked)
    processes = [fork.Process(target=open_at_once, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    answers = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert len({answer[1:] for answer in answers}) == 1
    assert sum(answer[0] for answer in answers) == 1 or not locked
    assert len(list((tmp_path / '.ann.json.vfe-cache').iterdir())) == 1
    check_against(CocoVideoIndex.open(path), dataset)
    assert not builds


def test_travels_to_a_worker_as_a_path(built):
    data = pickle.dumps(CocoVideoIndex.open(built[0]))
    assert len(data) < 1500
    assert isinstance(pickle.loads(data).ann_boxes.base.base, np.memmap)
