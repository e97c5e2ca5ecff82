"""Files appear whole or not at all, on full and read-only disks and under a kill; every failure is
one sentence with file and reason."""

import multiprocessing
import os
import resource
import signal
import sys
import time

import numpy as np
import pytest
import torch

from mmdet.apis.common import plain_errors
from mmdet.core.errors import WriteError
from mmdet.core.fileio import atomic_write, check_folder, check_writable
from mmdet.core.images import write_image
from mmdet.engine.checkpoint import save_checkpoint


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def start_child(work, *args):
    """`work(*args)` in a process of its own."""
    child = multiprocessing.get_context('fork').Process(target=work, args=args)
    child.start()
    return child


def write(path, content='x', mode='w'):
    with atomic_write(path, mode) as file:
        file.write(content)


@pytest.fixture
def path(tmp_path):
    """A file that is there already, alone in its folder."""
    (tmp_path / 'a.txt').write_text('old')
    return tmp_path / 'a.txt'


@pytest.mark.parametrize('name', ['a.txt', 'new.txt'])
def test_ctrl_c_leaves_what_was_there_and_nothing_else(path, name):
    with pytest.raises(KeyboardInterrupt), atomic_write(path.with_name(name)) as file:
        file.write('half')
        raise KeyboardInterrupt
    assert names(path.parent) == ['a.txt'] and path.read_text() == 'old'


def test_bytes_are_synced_before_the_rename_which_may_fail(path, monkeypatch):
    calls = []

    def fail(*_):
        calls.append('replace')
        raise OSError('disk says no')

    monkeypatch.setattr(os, 'fsync', lambda fd: calls.append('fsync'))
    monkeypatch.setattr(os, 'replace', fail)
    with pytest.raises(OSError, match='disk says no'), atomic_write(path) as file:
        file.write('naïve')
        file.flush()
        assert path.read_text() == 'old'
        assert len(names(path.parent)) == 2  # in the same folder, so that the rename is atomic
    assert calls == ['fsync', 'replace'] and names(path.parent) == ['a.txt']


def test_folders_and_files_in_the_way_are_refused_and_trying_leaves_nothing(path):
    for check in (write, check_writable):
        with pytest.raises(WriteError, match='a folder of that name exists'):
            check(path.parent)
    for check in (write, check_folder):
        with pytest.raises(WriteError, match=r'cannot write .*a\.txt/b: (Not a dir|File exists)'):
            check(path / 'b')
    check_writable(path.parent / 'made/r.pkl')
    check_folder(path.parent / 'made too')
    assert sorted(p.name for p in path.parent.rglob('*')) == ['a.txt', 'made', 'made too']


def die_or_wait(path, opened=None, end=None):
    with atomic_write(path) as file:
        file.write('half')
        file.flush()
        if opened is None:
            os.kill(os.getpid(), signal.SIGKILL)
        opened.set()
        end.wait(60)


def test_a_killed_writer_leaves_the_old_file_and_what_it_left_goes_with_the_next(path):
    child = start_child(die_or_wait, path)
    child.join(60)
    assert child.exitcode == -signal.SIGKILL and path.read_text() == 'old'
    opened, end = multiprocessing.Event(), multiprocessing.Event()
    living = start_child(die_or_wait, path, opened, end)
    assert opened.wait(60)
    path.with_name('.a.txt.notours.tmp').write_text('')
    for left in path.parent.glob('.a.txt.*.tmp'):
        os.utime(left, (time.time() - 3600,) * 2)
    path.with_name('.a.txt.0123abcd.tmp').write_text('')
    write(path, 'whole')
    # the living one's, a foreign name, and one that is young
    assert len(list(path.parent.glob('.a.txt.*.tmp'))) == 3
    end.set()
    living.join(60)
    assert living.exitcode == 0 and path.read_text() == 'half'


# -- disks -----------------------------------------------------------------------------------------

NOISE = np.random.default_rng(0).integers(0, 256, (600, 600, 3), np.uint8)

WRITERS = {
    'checkpoint': lambda path: save_checkpoint({'state_dict': {'w': torch.ones(200_000)}}, path),
    'text': lambda path: write(path, 'a line of text' * 100_000),
    'picture': lambda path: write_image(path, NOISE),
}


def write_within_a_limit(what, path):
    """A longer file fails as on a full disk."""
    sys.stderr = open(path.with_suffix('.txt'), 'w')
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    with plain_errors():
        WRITERS[what](path)


@pytest.mark.parametrize('what', WRITERS)
def test_a_full_disk_keeps_the_old_file_and_is_one_sentence(tmp_path, what):
    path = tmp_path / 'a.png'
    path.write_bytes(b'old')
    child = start_child(write_within_a_limit, what, path)
    child.join(60)
    said = (tmp_path / 'a.txt').read_text()
    assert child.exitcode == 1 and 'Traceback' not in said
    assert said.startswith(f'error: cannot write {path}: File too large. Files of that')
    assert path.read_bytes() == b'old' and names(tmp_path) == ['a.png', 'a.txt']
