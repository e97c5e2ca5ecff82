"""The index file is rebuilt, never trusted, when it is not what its annotation file says."""

import multiprocessing
import os
import pickle
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from cocovid_oracle import check_against, make_dataset, write

from mmdet.core.errors import AnnotationError
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


def flipped(data: bytes, place: int) -> bytes:
    changed = bytearray(data)
    changed[place] ^= 0b100
    return bytes(changed)


@pytest.mark.parametrize(
    'damaged',
    [
        *[lambda data, n=n: data[:n] for n in (0, 7, 100, 16383, 16384, 18000, -1)],
        *[lambda data, n=n: flipped(data, n) for n in (0, 8, 16, 48, 200, 16384, 18000, -1)],
        lambda data: data + b'\0',
        lambda data: b'\0' * 30000,
    ],
)
def test_a_damaged_index_is_rebuilt(built, builds, damaged):
    """Also where the size and the time of the file say nothing."""
    path, index_file = built
    times, data = index_file.stat(), index_file.read_bytes()
    assert len(data) > 18000
    index_file.write_bytes(damaged(data))
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
    with pytest.raises(AnnotationError):
        CocoVideoIndex.open(write(path.parent, DATASET | {'categories': []}))
    check_against(CocoVideoIndex.open(write(path.parent, other)), other)


@pytest.mark.parametrize('other', ['file', 'way of reading', 'version'])
def test_an_index_of_something_else_in_its_place(built, builds, tmp_path, monkeypatch, other):
    path, index_file = built
    foreign = write(tmp_path / 'other', make_dataset(seed=9)) if other == 'file' else path
    with monkeypatch.context() as patch:
        if other == 'version':
            patch.setattr(index_cache, 'FORMAT_VERSION', index_cache.FORMAT_VERSION + 1)
        as_videos = other == 'way of reading'
        CocoVideoIndex.open(foreign, tmp_path / 'cache', load_img_as_vid=as_videos)
    (made,) = (tmp_path / 'cache').glob('ann.json-*/*.index')
    shutil.copy(made, index_file)
    check_rebuilt(path, DATASET, builds)


def test_changed_while_it_is_parsed(tmp_path, monkeypatch):
    """What is stored carries the digest of the bytes that were parsed, not of those seen before."""
    new, path = make_dataset(seed=2), write(tmp_path, DATASET)
    read = coco_video_parser.read_annotations
    replaced_first = lambda *args: (write(tmp_path, new), read(*args))[1]  # noqa: E731
    with monkeypatch.context() as patch:
        patch.setattr(coco_video_parser, 'read_annotations', replaced_first)
        check_against(CocoVideoIndex.open(path), new)
    check_against(CocoVideoIndex.open(path), new)
    check_against(CocoVideoIndex.open(write(tmp_path, DATASET)), DATASET)


@pytest.mark.parametrize('variable', ['VFE_CACHE', 'HOME'])
def test_read_only_folder(tmp_path, monkeypatch, builds, variable):
    path = write(tmp_path, DATASET)
    path.with_name('.ann.json.vfe-cache').write_text('in the way, even of root')
    monkeypatch.delenv('VFE_CACHE', raising=False)
    monkeypatch.setenv(variable, str(tmp_path / 'elsewhere'))
    check_rebuilt(path, DATASET, builds)
    assert len(list((tmp_path / 'elsewhere').glob('**/ann.json-*/*.index'))) == 1
    monkeypatch.setenv('VFE_CACHE', str(path / 'below a file'))  # no folder at all
    with pytest.warns(UserWarning, match=r'No index of .*ann\.json could be kept.*VFE_CACHE'):
        index = CocoVideoIndex.open(path)
    check_against(index, DATASET)
    check_against(pickle.loads(pickle.dumps(index)), DATASET)


def test_full_disk(tmp_path, monkeypatch):
    path = write(tmp_path, DATASET)

    def full(*args):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(index_cache, '_write_header', full)
    with pytest.warns(UserWarning, match='No space left on device'):
        check_against(CocoVideoIndex.open(path), DATASET)
    assert list(tmp_path.iterdir()) == [path]  # no half-written file


def test_old_leftovers_are_removed(built, tmp_path):
    path, index_file = built
    os.utime(index_file, (time.time() - 1e6,) * 2)
    CocoVideoIndex.open(path, load_img_as_vid=True)  # of the same content: both stay
    assert index_file.exists()
    names = ['0123-4567.index', 'killed.index.12-34.tmp', 'recent.index.56-78.tmp']
    leftovers = [index_file.with_name(name) for name in names]
    for leftover in leftovers:
        leftover.write_bytes(b'x')
    for old in set(index_file.parent.iterdir()) - {leftovers[2]}:
        os.utime(old, (time.time() - 1e6,) * 2)
    CocoVideoIndex.open(write(tmp_path, make_dataset(seed=5)))
    left = set(index_file.parent.iterdir())
    assert len(left) == 2 and leftovers[2] in left and index_file not in left


def open_at_once(path, barrier, results, locked):
    if not locked:

        def no_lock(*args):  # as on a file system without locks
            raise OSError(95, 'Operation not supported')

        index_cache._lock = no_lock
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


def test_a_pickled_index_without_its_index_file(built, builds, tmp_path):
    path, index_file = built
    shutil.copytree(path.parent, tmp_path / 'moved')
    check_against(CocoVideoIndex.open(tmp_path / 'moved' / path.name), DATASET)  # keeps its index
    assert len(builds) == 1
    index = CocoVideoIndex.open(path)
    data = pickle.dumps(index)
    index_file.write_bytes(index_file.read_bytes()[:17000])
    check_against(pickle.loads(data), DATASET)
    assert len(builds) == 2
    write(tmp_path, make_dataset(seed=8))
    check_against(pickle.loads(data), DATASET)  # its index file is there again
    index_file.unlink()
    with pytest.raises(RuntimeError, match=r'ann\.json was changed while it was in use'):
        pickle.loads(data)


def check_in_worker(index):
    check_against(index, DATASET)
    return isinstance(index.ann_boxes.base.base, np.memmap), len(pickle.dumps(index))


@pytest.mark.dist
@pytest.mark.parametrize('method', ['fork', 'spawn'])
def test_travels_to_a_worker_as_a_path(built, method):
    with multiprocessing.get_context(method).Pool(1) as pool:
        mapped, size = pool.apply(check_in_worker, (CocoVideoIndex.open(built[0]),))
    assert mapped and size < 1500
