"""Full, read-only and forbidden disks: one sentence, old files whole, nothing half-written."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from full_disk import read_only, small_disk

from mmdet.apis.video_outputs import JsonLinesWriter
from mmdet.core.errors import WriteError
from mmdet.core.fileio import atomic_write, check_folder, check_writable, writing
from mmdet.engine.checkpoint import save_checkpoint
from mmdet.structures import Detections

FULL = r'cannot write .*{}: No space left on device\. Free space there'


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / 'disk') as folder:
        if folder is None:
            pytest.skip('no mounts here; test_a_limit_on_the_size_of_files is the same elsewhere')
        yield folder


@pytest.fixture
def sealed(tmp_path):
    with read_only(tmp_path / 'sealed') as folder:
        if folder is None:
            pytest.skip('root can write everywhere here')
        yield folder


def test_a_full_disk_keeps_the_old_file(disk):
    (disk / 'a.bin').write_bytes(b'old')
    with pytest.raises(WriteError, match=FULL.format('a.bin')) as caught:
        with atomic_write(disk / 'a.bin', 'wb') as file:
            file.write(bytes(1 << 20))
    assert caught.value.errno == errno.ENOSPC
    assert (disk / 'a.bin').read_bytes() == b'old' and os.listdir(disk) == ['a.bin']


def test_a_checkpoint_on_a_full_disk(disk):
    save_checkpoint({'state_dict': {'w': torch.ones(10)}}, disk / 'epoch_1.pth')
    before = (disk / 'epoch_1.pth').read_bytes()
    with pytest.raises(WriteError, match=FULL.format('epoch_1.pth')):
        save_checkpoint({'state_dict': {'w': torch.ones(200_000)}}, disk / 'epoch_1.pth')
    assert (disk / 'epoch_1.pth').read_bytes() == before and os.listdir(disk) == ['epoch_1.pth']


def test_json_lines_end_on_a_whole_line(disk):
    stream = SimpleNamespace()
    many = Detections(torch.rand(500, 4), torch.rand(500), torch.zeros(500, dtype=torch.long))
    result = SimpleNamespace(
        image=np.zeros((4, 4, 3), np.uint8), frame_index=0, timestamp_s=0.0, detections=many
    )
    with pytest.raises(WriteError, match=FULL.format('r.jsonl')):
        with JsonLinesWriter(disk / 'r.jsonl', stream, ('cat',)) as writer:
            for _ in range(100):
                writer.write(result)
    lines = (disk / 'r.jsonl').read_text()
    assert lines.endswith('\n') and 0 < len(lines.splitlines()) < 100
    assert all(len(json.loads(line)['detections']) == 500 for line in lines.splitlines())


def test_a_sealed_folder_is_noticed_at_once(sealed):
    for check in (check_writable, check_folder):
        with pytest.raises(WriteError, match=r'cannot write .*sealed'):
            check(sealed / 'deep/r.pkl')
    with pytest.raises(WriteError, match=r'cannot write .*r\.pkl'):
        with atomic_write(sealed / 'r.pkl') as file:
            file.write('x')


def test_trying_leaves_nothing(tmp_path):
    check_writable(tmp_path / 'a/r.pkl')
    check_folder(tmp_path / 'b')
    assert sorted(p.name for p in tmp_path.rglob('*')) == ['a', 'b']
    (tmp_path / 'file').write_text('')
    with pytest.raises(WriteError, match=r'(A part of that path is a file|Not a directory)'):
        check_folder(tmp_path / 'file/folder')
    with pytest.raises(WriteError, match='a folder of that name'):
        check_writable(tmp_path / 'a')


def test_failures_of_other_files_keep_their_name(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, atomic_write(tmp_path / 'out/new.txt'):
        open(tmp_path / 'elsewhere/absent.txt')
    assert not isinstance(caught.value, WriteError)
    with pytest.raises(WriteError, match=r'cannot write .*out/x'), writing(tmp_path / 'out/x'):
        raise OSError(errno.EDQUOT, 'quota')


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
from mmdet.apis.common import plain_errors
from mmdet.core.fileio import atomic_write
with plain_errors():
    with atomic_write(sys.argv[1], 'wb') as file:
        file.write(bytes(100_000))
"""


def test_a_limit_on_the_size_of_files(tmp_path):
    assert resource.getrlimit(resource.RLIMIT_FSIZE)  # exists here
    done = subprocess.run(
        [sys.executable, '-c', LIMITED, str(tmp_path / 'a.bin')],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert done.stderr.startswith(f'error: cannot write {tmp_path}/a.bin: File too large.')
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from mmdet.core.fileio import atomic_write
with atomic_write(sys.argv[1]) as file:
    print('open', flush=True)
    sys.stdin.read() if sys.argv[2] == 'live' else os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path):
    path = tmp_path / 'a.txt'
    done = subprocess.run([sys.executable, '-c', KILLED, str(path), 'die'], check=False)
    assert done.returncode == -signal.SIGKILL
    living = subprocess.Popen(
        [sys.executable, '-c', KILLED, str(path), 'live'], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    living.stdout.readline()
    assert len(list(tmp_path.glob('.a.txt.*.tmp'))) == 2
    (tmp_path / '.a.txt.notours.tmp').write_text('')
    for left in tmp_path.glob('.a.txt.*.tmp'):
        os.utime(left, (time.time() - 3600,) * 2)
    with atomic_write(path) as file:
        file.write('whole')
    assert len(list(tmp_path.glob('.a.txt.*.tmp'))) == 2  # the living one's, and a foreign name
    living.communicate(b'')
    assert living.returncode == 0 and path.read_text() == ''
