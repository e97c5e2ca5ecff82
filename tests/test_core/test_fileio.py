"""atomic_write: all of the file or nothing of it, whatever happens in between."""

import os
import signal
import stat
import subprocess
import sys

import pytest

from mmdet.core.errors import WriteError
from mmdet.core.fileio import atomic_write

KILLED_WRITER = """
import os, signal, sys
from mmdet.core.errors import WriteError
from mmdet.core.fileio import atomic_write
with atomic_write(sys.argv[1]) as file:
    file.write('half')
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.parametrize(('mode', 'content'), [('w', 'naïve\n'), ('wb', b'\x00\xff')])
def test_writes_text_as_utf8_and_bytes(tmp_path, mode, content):
    with atomic_write(tmp_path / 'a.txt', mode) as file:
        file.write(content)
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
        temporary = [name for name in names(tmp_path) if name != 'a.txt']
        assert len(temporary) == 1  # in the same folder, so that the rename is atomic
    assert path.read_text() == 'new'


@pytest.mark.parametrize('error', [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize('before', [None, 'old'])
def test_an_error_leaves_what_was_there_and_nothing_else(tmp_path, error, before):
    path = tmp_path / 'a.txt'
    if before is not None:
        path.write_text(before)
    with pytest.raises(error), atomic_write(path) as file:
        file.write('half')
        raise error
    assert names(tmp_path) == ([] if before is None else ['a.txt'])
    if before is not None:
        assert path.read_text() == before


def test_a_failing_rename_removes_the_temporary_file(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError('disk says no')

    monkeypatch.setattr(os, 'replace', fail)
    with pytest.raises(OSError, match='disk says no'), atomic_write(tmp_path / 'a.txt') as file:
        file.write('whole')
    assert names(tmp_path) == []


def test_bytes_are_synced_before_the_rename(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, 'fsync', lambda fd: (calls.append('fsync'), fsync(fd)))
    monkeypatch.setattr(os, 'replace', lambda *a: (calls.append('replace'), replace(*a)))
    with atomic_write(tmp_path / 'a.txt') as file:
        file.write('x')
    assert calls == ['fsync', 'replace']


def test_a_killed_writer_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / 'a.txt'
    path.write_text('old')
    done = subprocess.run([sys.executable, '-c', KILLED_WRITER, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == 'old'


def test_two_writers_do_not_share_a_temporary_file(tmp_path):
    path = tmp_path / 'a.txt'
    with atomic_write(path) as first, atomic_write(path) as second:
        assert first.name != second.name
        first.write('first')
        second.write('second')
    assert path.read_text() == 'first'  # the outer block ends last
    assert names(tmp_path) == ['a.txt']


def test_permissions_follow_the_umask(tmp_path):
    with atomic_write(tmp_path / 'atomic') as file:
        file.write('x')
    (tmp_path / 'plain').write_text('x')
    modes = [stat.S_IMODE((tmp_path / n).stat().st_mode) for n in ('atomic', 'plain')]
    assert modes[0] == modes[1]


def test_parents_are_made_and_links_followed(tmp_path):
    target = tmp_path / 'deep' / 'er' / 'a.txt'
    with atomic_write(target) as file:
        file.write('1')
    link = tmp_path / 'link'
    link.symlink_to(target)
    with atomic_write(link) as file:
        file.write('2')
    assert link.is_symlink()
    assert target.read_text() == '2'


def test_refuses_other_modes_and_folders(tmp_path):
    with pytest.raises(ValueError, match=r"got mode 'a'\. Legal: 'w'"), atomic_write('x', 'a'):
        pass
    with pytest.raises(WriteError, match='a folder of that name exists'):
        with atomic_write(tmp_path):
            pass


FULL_DISK = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # a longer file fails as on a full disk
{body}
"""
FULL = {
    'checkpoint': """
import torch
from mmdet.engine.checkpoint import save_checkpoint
try: save_checkpoint({'state_dict': {'w': torch.zeros(100_000)}}, sys.argv[1])
except Exception as error: print(type(error).__name__, error)
""",
    'text': """
from mmdet.core.fileio import atomic_write
try:
    with atomic_write(sys.argv[1]) as file:
        for _ in range(10_000): file.write('a line of text')
except Exception as error: print(type(error).__name__, error)
""",
    'pickle': """
import numpy as np, pickle
from mmdet.core.fileio import atomic_write
try:
    with atomic_write(sys.argv[1], 'wb') as file: pickle.dump(np.zeros(100_000), file)
except Exception as error: print(type(error).__name__, error)
""",
    'picture': """
import numpy as np
from mmdet.core.images import write_image
image = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
try: write_image(sys.argv[1], image)
except Exception as error: print(type(error).__name__, error)
""",
}


@pytest.mark.parametrize('what', FULL)
def test_a_full_disk_names_file_and_reason_and_keeps_the_old_file(tmp_path, what):
    path = tmp_path / 'old.png'
    path.write_bytes(b'old')
    code = FULL_DISK.format(body=FULL[what])
    done = subprocess.run(
        [sys.executable, '-c', code, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f'WriteError cannot write {path}: File too large. Files of that')
    assert path.read_bytes() == b'old' and names(tmp_path) == ['old.png']


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(WriteError, match=r'cannot write .*file/a\.txt: (Not a dir|File exists)'):
        with atomic_write(tmp_path / 'file' / 'a.txt') as file:
            file.write('x')


def test_other_errors_of_the_system_in_the_block_stay_what_they_are(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / 'a.txt') as file:
        file.write('x')
        open(tmp_path / 'no such input')
