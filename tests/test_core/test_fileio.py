"""Files appear whole or not at all, on full, read-only and forbidden disks and under a kill; every
failure is one sentence with file and reason."""

import errno
import json
import multiprocessing
import os
import pickle
import resource
import signal
import stat
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from full_disk import read_only, small_disk

from mmdet.apis.common import plain_errors
from mmdet.apis.video_outputs import JsonLinesWriter
from mmdet.core.errors import WriteError
from mmdet.core.fileio import atomic_write, check_folder, check_writable, writing
from mmdet.core.images import write_image
from mmdet.engine.checkpoint import save_checkpoint
from mmdet.structures import Detections

FULL = r'cannot write .*{}: No space left on device\. Free space there'


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


@pytest.mark.parametrize(('mode', 'content'), [('w', 'naïve\n'), ('wb', b'\x00\xff')])
def test_writes_text_as_utf8_and_bytes(tmp_path, mode, content):
    write(tmp_path / 'a.txt', content, mode)
    expected = content if mode == 'wb' else content.encode('utf-8')
    assert (tmp_path / 'a.txt').read_bytes() == expected
    assert names(tmp_path) == ['a.txt']


def test_target_keeps_its_content_until_the_block_ends(tmp_path):
    path = tmp_path / 'a.txt'
    path.write_text('old')
    with atomic_write(path) as file:
        file.write('new')
        file.flush()
        assert path.read_text() == 'old'
        assert len(names(tmp_path)) == 2  # in the same folder, so that the rename is atomic
    assert path.read_text() == 'new'


@pytest.mark.parametrize('error', [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize('before', [[], ['a.txt']])
def test_an_error_leaves_what_was_there_and_nothing_else(tmp_path, error, before):
    for name in before:
        (tmp_path / name).write_text('old')
    with pytest.raises(error), atomic_write(tmp_path / 'a.txt') as file:
        file.write('half')
        raise error
    assert names(tmp_path) == before
    assert all((tmp_path / name).read_text() == 'old' for name in before)


def test_bytes_are_synced_before_the_rename_which_may_fail(tmp_path, monkeypatch):
    calls = []
    fsync = os.fsync
    monkeypatch.setattr(os, 'fsync', lambda fd: (calls.append('fsync'), fsync(fd)))

    def fail(*_):
        calls.append('replace')
        raise OSError('disk says no')

    monkeypatch.setattr(os, 'replace', fail)
    with pytest.raises(OSError, match='disk says no'):
        write(tmp_path / 'a.txt')
    assert calls == ['fsync', 'replace'] and names(tmp_path) == []


def test_two_writers_do_not_share_a_temporary_file(tmp_path):
    path = tmp_path / 'a.txt'
    with atomic_write(path) as first, atomic_write(path) as second:
        assert first.name != second.name
        first.write('first')
        second.write('second')
    assert path.read_text() == 'first'  # the outer block ends last
    assert names(tmp_path) == ['a.txt']


def test_permissions_parents_and_links_are_as_of_open(tmp_path):
    write(tmp_path / 'deep/er/a.txt')
    (tmp_path / 'plain').write_text('x')
    modes = [stat.S_IMODE((tmp_path / n).stat().st_mode) for n in ('deep/er/a.txt', 'plain')]
    assert modes[0] == modes[1]
    link = tmp_path / 'link'
    link.symlink_to(tmp_path / 'deep/er/a.txt')
    write(link, '2')
    assert link.is_symlink() and (tmp_path / 'deep/er/a.txt').read_text() == '2'


def test_other_modes_folders_and_files_in_the_way_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"got mode 'a'\. Legal: 'w'"):
        write('x', mode='a')
    with pytest.raises(WriteError, match='a folder of that name exists'):
        write(tmp_path)
    (tmp_path / 'file').write_text('')
    with pytest.raises(WriteError, match=r'cannot write .*file/a\.txt: (Not a dir|File exists)'):
        write(tmp_path / 'file/a.txt')


def test_failures_of_other_files_keep_their_name(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, atomic_write(tmp_path / 'out/new.txt'):
        open(tmp_path / 'elsewhere/absent.txt')
    assert not isinstance(caught.value, WriteError)
    with pytest.raises(WriteError, match=r'cannot write .*out/x'), writing(tmp_path / 'out/x'):
        raise OSError(errno.EDQUOT, 'quota')


# -- kills -----------------------------------------------------------------------------------------


def die_or_wait(path, opened=None, end=None):
    with atomic_write(path) as file:
        file.write('half')
        file.flush()
        if opened is None:
            os.kill(os.getpid(), signal.SIGKILL)
        opened.set()
        end.wait(60)


def test_a_killed_writer_leaves_the_old_file_and_what_it_left_goes_with_the_next(tmp_path):
    path = tmp_path / 'a.txt'
    path.write_text('old')
    child = start_child(die_or_wait, path)
    child.join(60)
    assert child.exitcode == -signal.SIGKILL and path.read_text() == 'old'
    opened, end = multiprocessing.Event(), multiprocessing.Event()
    living = start_child(die_or_wait, path, opened, end)
    assert opened.wait(60)
    assert len(list(tmp_path.glob('.a.txt.*.tmp'))) == 2
    (tmp_path / '.a.txt.notours.tmp').write_text('')
    for left in tmp_path.glob('.a.txt.*.tmp'):
        os.utime(left, (time.time() - 3600,) * 2)
    write(path, 'whole')
    assert len(list(tmp_path.glob('.a.txt.*.tmp'))) == 2  # the living one's, and a foreign name
    end.set()
    living.join(60)
    assert living.exitcode == 0 and path.read_text() == 'half'


# -- disks -----------------------------------------------------------------------------------------

NOISE = np.random.default_rng(0).integers(0, 256, (600, 600, 3), np.uint8)


def dump_array(path):
    with atomic_write(path, 'wb') as file:
        pickle.dump(NOISE, file)


WRITERS = {
    'checkpoint': lambda path: save_checkpoint({'state_dict': {'w': torch.ones(200_000)}}, path),
    'text': lambda path: write(path, 'a line of text' * 100_000),
    'bytes': lambda path: write(path, bytes(1 << 20), 'wb'),
    'picture': lambda path: write_image(path, NOISE),
    'pickle': dump_array,
}


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / 'disk') as folder:
        if folder is None:
            pytest.skip('no mounts here; test_a_limit_on_the_size_of_files is the same elsewhere')
        yield folder


@pytest.mark.parametrize('what', WRITERS)
def test_a_full_disk_keeps_the_old_file(disk, what):
    (disk / 'a.png').write_bytes(b'old')
    with pytest.raises(WriteError, match=FULL.format(r'a\.png')) as caught:
        WRITERS[what](disk / 'a.png')
    assert caught.value.errno == errno.ENOSPC
    assert (disk / 'a.png').read_bytes() == b'old' and names(disk) == ['a.png']


def write_within_a_limit(what, path):
    sys.stderr = open(path.with_suffix('.txt'), 'w')
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    with plain_errors():
        WRITERS[what](path)


@pytest.mark.parametrize('what', WRITERS)
def test_a_limit_on_the_size_of_files(tmp_path, what):
    path = tmp_path / 'a.png'
    path.write_bytes(b'old')
    child = start_child(write_within_a_limit, what, path)
    child.join(60)
    said = (tmp_path / 'a.txt').read_text()
    assert child.exitcode == 1 and 'Traceback' not in said
    assert said.startswith(f'error: cannot write {path}: File too large. Files of that')
    assert path.read_bytes() == b'old' and names(tmp_path) == ['a.png', 'a.txt']


def test_json_lines_end_on_a_whole_line(disk):
    many = Detections(torch.rand(500, 4), torch.rand(500), torch.zeros(500, dtype=torch.long))
    result = SimpleNamespace(
        image=np.zeros((4, 4, 3), np.uint8), frame_index=0, timestamp_s=0.0, detections=many
    )
    with pytest.raises(WriteError, match=FULL.format('r.jsonl')):
        with JsonLinesWriter(disk / 'r.jsonl', SimpleNamespace(), ('cat',)) as writer:
            for _ in range(100):
                writer.write(result)
    lines = (disk / 'r.jsonl').read_text()
    assert lines.endswith('\n') and 0 < len(lines.splitlines()) < 100
    assert all(len(json.loads(line)['detections']) == 500 for line in lines.splitlines())


def test_a_sealed_folder_is_noticed_at_once(tmp_path):
    with read_only(tmp_path / 'sealed') as sealed:
        if sealed is None:
            pytest.skip('root can write everywhere here')
        for check in (check_writable, check_folder, write):
            with pytest.raises(WriteError, match=r'cannot write .*sealed/deep/r\.pkl'):
                check(sealed / 'deep/r.pkl')


def test_trying_leaves_nothing(tmp_path):
    check_writable(tmp_path / 'a/r.pkl')
    check_folder(tmp_path / 'b')
    assert sorted(p.name for p in tmp_path.rglob('*')) == ['a', 'b']
    (tmp_path / 'file').write_text('')
    with pytest.raises(WriteError, match=r'(A part of that path is a file|Not a directory)'):
        check_folder(tmp_path / 'file/folder')
    with pytest.raises(WriteError, match='a folder of that name'):
        check_writable(tmp_path / 'a')
