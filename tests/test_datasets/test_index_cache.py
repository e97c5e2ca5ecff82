"""The index file is rebuilt, never trusted, when it is not what its annotation file says."""

import json
import multiprocessing
import os
import pickle
import shutil
import stat
import time
from pathlib import Path

import numpy as np
import pytest
from cocovid_oracle import check_against, make_dataset, write

from mmdet.core.errors import AnnotationError
from mmdet.datasets.parsers import CocoVideoIndex, coco_video_parser, index_cache


@pytest.fixture
def builds(monkeypatch) -> list:
    """Grows by one element for each time an annotation file is parsed."""
    calls = []
    read = coco_video_parser.read_annotations

    def counted(*args):
        calls.append(args[0])
        return read(*args)

    monkeypatch.setattr(coco_video_parser, 'read_annotations', counted)
    return calls


@pytest.fixture
def built(tmp_path, builds) -> tuple[Path, dict, Path]:
    """An annotation file, its content, its index file."""
    dataset = make_dataset()
    path = write(tmp_path, dataset)
    CocoVideoIndex.open(path)
    (index_file,) = (tmp_path / '.ann.json.vfe-cache').iterdir()
    assert len(builds) == 1
    return path, dataset, index_file


def check_rebuilt(path: Path, dataset: dict, builds: list) -> None:
    """The next open builds, the one after it maps what that built."""
    before = len(builds)
    for expected in (before + 1, before + 1):
        check_against(CocoVideoIndex.open(path), dataset)
        assert len(builds) == expected


def test_second_open_does_not_parse(built, builds):
    path, dataset, _ = built
    check_against(CocoVideoIndex.open(path), dataset)
    check_against(CocoVideoIndex.open(str(path)), dataset)
    assert len(builds) == 1


@pytest.mark.parametrize('keep', [0, 7, 100, 16383, 16384, 18000, -1])
def test_truncated(built, builds, keep):
    path, dataset, index_file = built
    data = index_file.read_bytes()
    assert len(data) > 18000
    index_file.write_bytes(data[:keep])
    check_rebuilt(path, dataset, builds)


def test_longer(built, builds):
    path, dataset, index_file = built
    index_file.write_bytes(index_file.read_bytes() + b'\0')
    check_rebuilt(path, dataset, builds)


@pytest.mark.parametrize('place', [0, 8, 15, 16, 47, 48, 60, 200, 16384, 17000, 18000, -1])
def test_flipped_bit(built, builds, place):
    path, dataset, index_file = built
    data = bytearray(index_file.read_bytes())
    data[place] ^= 0b100
    index_file.write_bytes(data)
    check_rebuilt(path, dataset, builds)


def test_swapped_bytes_keep_size_and_time(built, builds):
    path, dataset, index_file = built
    times, data = index_file.stat(), bytearray(index_file.read_bytes())
    place = next(i for i in range(17000, len(data)) if data[i] != data[i + 8])
    data[place], data[place + 8] = data[place + 8], data[place]
    index_file.write_bytes(data)
    os.utime(index_file, ns=(times.st_atime_ns, times.st_mtime_ns))
    check_rebuilt(path, dataset, builds)


def test_other_content_of_same_size_and_time(built, builds):
    path, dataset, _ = built
    before = path.stat()
    text = path.read_text().replace('000002.JPEG', '999992.JPEG')
    assert json.loads(text) != dataset
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    check_rebuilt(path, json.loads(text), builds)


def test_index_of_another_file_in_its_place(built, builds, tmp_path):
    path, dataset, index_file = built
    (tmp_path / 'other').mkdir()
    CocoVideoIndex.open(write(tmp_path / 'other', make_dataset(seed=9)))
    (foreign,) = (tmp_path / 'other' / '.ann.json.vfe-cache').iterdir()
    shutil.copy(foreign, index_file)
    check_rebuilt(path, dataset, builds)


def test_index_of_another_way_of_reading_in_its_place(built, builds, tmp_path):
    path, dataset, index_file = built
    CocoVideoIndex.open(path, cache_dir=tmp_path / 'other', load_img_as_vid=True)
    (foreign,) = (tmp_path / 'other').glob('*/*')
    shutil.copy(foreign, index_file)
    check_rebuilt(path, dataset, builds)


@pytest.mark.parametrize('content', [b'', b'\0' * 30000, b'{"images": []}'])
def test_foreign_file_in_its_place(built, builds, content):
    path, dataset, index_file = built
    index_file.write_bytes(content)
    check_rebuilt(path, dataset, builds)


def test_other_format_version(built, builds, monkeypatch):
    path, dataset, _ = built
    monkeypatch.setattr(index_cache, 'FORMAT_VERSION', index_cache.FORMAT_VERSION + 1)
    check_rebuilt(path, dataset, builds)
    monkeypatch.undo()
    check_against(CocoVideoIndex.open(path), dataset)


def test_old_index_under_the_new_name(built, builds, monkeypatch):
    """The version counts in the header, too."""
    path, dataset, index_file = built
    monkeypatch.setattr(index_cache, 'FORMAT_VERSION', index_cache.FORMAT_VERSION + 1)
    CocoVideoIndex.open(path)
    (new,) = set(index_file.parent.iterdir()) - {index_file}
    shutil.copy(index_file, new)
    check_rebuilt(path, dataset, builds)


def test_moved_folder_keeps_its_index(built, builds, tmp_path):
    path, dataset, _ = built
    shutil.copytree(path.parent, tmp_path / 'moved')
    check_against(CocoVideoIndex.open(tmp_path / 'moved' / path.name), dataset)
    assert len(builds) == 1


def test_changed_while_it_is_parsed(tmp_path, monkeypatch):
    """What is stored carries the digest of the bytes that were parsed, not of those seen before."""
    old, new = make_dataset(seed=1), make_dataset(seed=2)
    path = write(tmp_path, old)
    read = coco_video_parser.read_annotations

    def replaced_first(*args):
        write(tmp_path, new)
        return read(*args)

    monkeypatch.setattr(coco_video_parser, 'read_annotations', replaced_first)
    check_against(CocoVideoIndex.open(path), new)
    monkeypatch.undo()
    check_against(CocoVideoIndex.open(path), new)
    check_against(CocoVideoIndex.open(write(tmp_path, old)), old)


# --- where it lies -------------------------------------------------------------------------------


def block_beside(path: Path) -> None:
    """Make the folder beside `path` impossible, even for root."""
    path.with_name(f'.{path.name}.vfe-cache').write_text('in the way')


def test_read_only_folder(tmp_path, monkeypatch, builds):
    dataset = make_dataset()
    path = write(tmp_path, dataset)
    block_beside(path)
    monkeypatch.setenv('VFE_CACHE', str(tmp_path / 'cache'))
    check_rebuilt(path, dataset, builds)
    assert len(list((tmp_path / 'cache').glob('ann.json-*/*.index'))) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write everywhere')
def test_folder_without_write_permission(tmp_path, monkeypatch, builds):
    dataset = make_dataset()
    (tmp_path / 'data').mkdir()
    path = write(tmp_path / 'data', dataset)
    monkeypatch.setenv('VFE_CACHE', str(tmp_path / 'cache'))
    path.parent.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        check_rebuilt(path, dataset, builds)
    finally:
        path.parent.chmod(stat.S_IRWXU)


def test_folder_that_refuses(tmp_path, monkeypatch, builds):
    dataset = make_dataset()
    path = write(tmp_path, dataset)
    mkdir = Path.mkdir

    def refusing(self, *args, **kwargs):
        if self.parent == tmp_path:
            raise PermissionError(f'read-only: {self}')
        mkdir(self, *args, **kwargs)

    (tmp_path / 'home').mkdir()
    monkeypatch.setattr(Path, 'mkdir', refusing)
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    monkeypatch.delenv('VFE_CACHE', raising=False)
    check_rebuilt(path, dataset, builds)
    assert len(list((tmp_path / 'home' / '.cache' / 'vfe').glob('ann.json-*/*.index'))) == 1


def test_given_folder(tmp_path, builds):
    """Two annotation files of one name do not meet in one folder."""
    for name, seed in (('a', 1), ('b', 2)):
        (tmp_path / name).mkdir()
        dataset = make_dataset(seed=seed)
        path = write(tmp_path / name, dataset)
        for _ in range(2):
            check_against(CocoVideoIndex.open(path, cache_dir=tmp_path / 'cache'), dataset)
        assert list(path.parent.iterdir()) == [path]
    assert len(builds) == 2
    assert len(list((tmp_path / 'cache').glob('ann.json-*/*.index'))) == 2


def test_no_folder_at_all(tmp_path, monkeypatch):
    dataset = make_dataset()
    path = write(tmp_path, dataset)
    block_beside(path)
    monkeypatch.setenv('VFE_CACHE', str(path / 'below a file'))
    with pytest.warns(UserWarning, match=r'No index of .*ann\.json could be kept.*VFE_CACHE'):
        index = CocoVideoIndex.open(path)
    check_against(index, dataset)
    check_against(pickle.loads(pickle.dumps(index)), dataset)


def test_full_disk(tmp_path, monkeypatch):
    dataset = make_dataset()
    path = write(tmp_path, dataset)

    def full(*args):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(index_cache, '_write_header', full)
    with pytest.warns(UserWarning, match='No space left on device'):
        check_against(CocoVideoIndex.open(path), dataset)
    assert list(tmp_path.iterdir()) == [path]  # no half-written file


def test_old_leftovers_are_removed(built, tmp_path):
    path, _, index_file = built
    names = ['0123-4567.index', 'killed.index.12-34.tmp', 'recent.index.56-78.tmp']
    leftovers = [index_file.with_name(name) for name in names]
    for leftover in leftovers:
        leftover.write_bytes(b'x')
    for old in [*leftovers[:2], index_file]:
        os.utime(old, (time.time() - 1e6,) * 2)
    write(tmp_path, make_dataset(seed=5))
    CocoVideoIndex.open(path)
    left = set(index_file.parent.iterdir())
    assert len(left) == 2 and leftovers[2] in left and index_file not in left


def test_old_index_of_the_same_content_stays(built, builds):
    path, dataset, index_file = built
    os.utime(index_file, (time.time() - 1e6,) * 2)
    CocoVideoIndex.open(path, load_img_as_vid=True)
    assert len(builds) == 2
    check_against(CocoVideoIndex.open(path), dataset)
    assert len(builds) == 2


# --- several processes ---------------------------------------------------------------------------


def open_at_once(path, barrier, results, locked):
    if not locked:

        def no_lock(*args):  # as on a file system without locks
            raise OSError(95, 'Operation not supported')

        index_cache._lock = no_lock
    builds = []
    read = coco_video_parser.read_annotations
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
    processes = [
        fork.Process(target=open_at_once, args=(path, barrier, results, locked)) for _ in range(4)
    ]
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


def test_failed_build_is_not_in_the_way(tmp_path):
    dataset = make_dataset()
    path = write(tmp_path, dataset | {'categories': []})
    with pytest.raises(AnnotationError):
        CocoVideoIndex.open(path)
    write(tmp_path, dataset)
    check_against(CocoVideoIndex.open(path), dataset)


def test_unpickled_after_the_index_file_is_gone(built, builds):
    path, dataset, index_file = built
    data = pickle.dumps(CocoVideoIndex.open(path))
    index_file.unlink()
    check_against(pickle.loads(data), dataset)
    assert len(builds) == 2


def test_unpickled_after_the_index_file_was_cut(built, builds):
    path, dataset, index_file = built
    data = pickle.dumps(CocoVideoIndex.open(path))
    index_file.write_bytes(index_file.read_bytes()[:17000])
    check_against(pickle.loads(data), dataset)
    assert len(builds) == 2


def test_unpickled_after_the_annotation_file_changed(built, tmp_path):
    path, dataset, index_file = built
    index = CocoVideoIndex.open(path)
    data = pickle.dumps(index)
    write(tmp_path, make_dataset(seed=8))
    check_against(pickle.loads(data), dataset)  # its index file is still there
    index_file.unlink()
    with pytest.raises(RuntimeError, match=r'ann\.json was changed while it was in use'):
        pickle.loads(data)
    check_against(index, dataset)  # a mapped file outlives its name


def test_unpickling_maps_and_does_not_copy(built):
    index = pickle.loads(pickle.dumps(CocoVideoIndex.open(built[0])))
    base = index.ann_boxes
    while base.base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)
