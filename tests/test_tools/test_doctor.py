"""tools/doctor.py as a user runs it: here, with broken packages, and with nothing installed."""

import json
import os
import subprocess
import sys

import pytest
import torch
import torchvision

from mmdet.programs.doctor import doctor, packages, trials
from mmdet.programs.doctor.finding import Check
from mmdet.video import writer

# what an interpreter does at its start: every package but those allowed is as if not installed
BLOCK = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        top = name.split('.')[0]
        if top not in sys.stdlib_module_names and top not in {allowed!r}:
            raise ModuleNotFoundError(f'No module named {{top!r}}', name=top)
        return None

sys.meta_path.insert(0, Block())
"""


@pytest.fixture
def run_doctor(repo, tmp_path):
    """Runs the command where only the allowed packages can be imported, first from `tmp_path`."""

    def run(*argv, allowed=(), path=''):
        if allowed is not None:
            allowed = ('mmdet', 'sitecustomize', *allowed)
            (tmp_path / 'sitecustomize.py').write_text(BLOCK.format(allowed=allowed))
        path = os.pathsep.join(map(str, (tmp_path, path, repo)))
        done = subprocess.run(
            [sys.executable, str(repo / 'tools/doctor.py'), *argv],
            env=dict(os.environ, PYTHONPATH=path, OMP_NUM_THREADS='1'),
            capture_output=True,
            text=True,
        )
        assert 'Traceback' not in done.stdout + done.stderr
        report = json.loads(done.stdout) if '--json' in argv else None
        rows = {row['name']: row for row in report['findings']} if report else {}
        return done.returncode, report or done.stdout, rows

    return run


def another_mmdet(place):
    (place / 'mmdet').mkdir(parents=True)
    (place / 'mmdet/__init__.py').write_text('# Copyright (c) OpenMMLab.\nimport mmcv\n')
    return place


@pytest.mark.slow
def test_here_everything_works_and_another_mmdet_behind_ours_is_a_note(repo, run_doctor, tmp_path):
    (tmp_path / 'mmdet').symlink_to(repo / 'mmdet')
    behind = another_mmdet(tmp_path / 'behind')
    code, report, found = run_doctor('--json', allowed=None, path=behind)
    assert code == 0 and report['works'] is True and report['reasons'] == []
    assert 'PyTorch version' in report['machine']
    assert found['torch']['value'] == torch.__version__.split('+')[0]
    assert found['nms (cpu)']['value'] == 'works'
    assert found['video']['value'].startswith('H.264 is written and read')
    required = {row['name'] for row in report['findings'] if row['section'] == 'Packages'}
    assert {'torch', 'mmengine-lite', 'opencv-python-headless', 'av', 'matplotlib'} <= required
    assert found['mmdet']['status'] == 'note' and str(behind / 'mmdet') in found['mmdet']['value']


def test_with_the_standard_library_only(run_doctor):
    code, said, _ = run_doctor()
    assert code == 1 and 'training and testing cannot work here' in said.lower()
    for need in packages.setup_argument('install_requires'):
        assert f'  - {packages.name_of(need)}: not installed\n' in said
        assert f"-> pip install '{need}'\n" in said
    assert '`pip install -e .`' in said.splitlines()[-1]
    assert 'off   tensorboard' in said and "-> pip install 'tensorboard'\n" in said


def test_packages_that_crash_and_another_mmdet_are_named(run_doctor, tmp_path):
    for name, code in (
        ('torch', 'import os, sys; print("bad CPU", file=sys.stderr); os.abort()'),
        ('cv2', 'raise ImportError("libGL.so.1: cannot open shared object file")'),
        ('numpy', 'raise SystemExit(0)'),
    ):
        (tmp_path / f'{name}.py').write_text(code)
    another_mmdet(tmp_path)
    code, report, found = run_doctor('--json', allowed=('torch', 'cv2', 'numpy'))
    assert code == 1
    assert found['torch']['value'] == 'crashes (SIGABRT): bad CPU'
    assert 'libGL.so.1' in found['opencv-python-headless']['value']
    assert '--force-reinstall' in found['opencv-python-headless']['advice']
    assert 'SystemExit' in found['numpy']['value']
    assert found['mmdet']['status'] == 'FAULT'  # checked after the crash
    assert found['mmdet']['advice'] == f'take {tmp_path} out of PYTHONPATH'
    assert any(reason.startswith('mmdet') for reason in report['reasons'])


# --- single checks -------------------------------------------------------------------------------


def test_versions(tmp_path, monkeypatch):
    (tmp_path / 'quokka-2.10.0.dist-info').mkdir()
    text = 'Metadata-Version: 2.1\nName: quokka\nVersion: 2.10.0+cu130\n'
    (tmp_path / 'quokka-2.10.0.dist-info/METADATA').write_text(text)
    (tmp_path / 'quokka-2.10.0.dist-info/top_level.txt').write_text('quokka')
    (tmp_path / 'quokka.py').touch()
    monkeypatch.syspath_prepend(tmp_path)
    for need, status in (('quokka>=2.4', 'ok'), ('quokka>=3', 'FAULT'), ('absent', 'FAULT')):
        (found,) = packages.check_required(need)
        assert found.status == status and (need in found.advice) == (status == 'FAULT')


def darker(self, image, write=writer.VideoWriter.write):
    write(self, image // 2)


@pytest.mark.parametrize(
    ('check', 'target', 'name', 'value', 'status', 'words'),
    [
        (packages.check_python, sys, 'version_info', (3, 9, 18), 'FAULT', 'too old'),
        (
            trials.check_ops,
            torchvision.ops,
            'nms',
            lambda *_: torch.arange(3),
            'FAULT',
            '[0, 1, 2]',
        ),
        (trials.check_video, writer.VideoWriter, 'write', darker, 'note', 'changed by'),
        (trials.check_parts, trials, 'PARTS', ('absent',), 'FAULT', 'import mmdet.absent fails'),
    ],
)
def test_what_does_not_work_is_found(monkeypatch, check, target, name, value, status, words):
    with monkeypatch.context() as patch:
        patch.setattr(target, name, value)
        *_, found = check()
    assert found.status == status and words in found.value


SCRIPT = """
import os, sys, time
from mmdet.programs.doctor import doctor
from mmdet.programs.doctor.finding import Check, Finding

def fine(): print('noise of a package'); yield Finding('fine', 'yes')
def half(): yield Finding('half', 'first'); os._exit(3)
def wrong(): raise ValueError('enough'); yield
def hangs(): time.sleep(60); yield
doctor.LIMIT_S = 3
functions = [half, wrong, hangs, fine]
doctor.run_here([Check('s', f.__name__, f) for f in functions][int(sys.argv[1]) :])
"""


def test_checks_that_end_or_hang_their_process(repo, tmp_path, monkeypatch):
    (tmp_path / 'checks.py').write_text(SCRIPT)
    monkeypatch.setenv('PYTHONPATH', str(repo))
    monkeypatch.setattr(doctor, 'LIMIT_S', 3)
    checks = [Check('s', name, lambda: ()) for name in ('half', 'wrong', 'hangs', 'fine')]
    found = list(doctor.run_isolated(checks, [sys.executable, str(tmp_path / 'checks.py')]))
    assert [(f.name, f.value, f.status) for f in found] == [
        ('half', 'first', 'ok'),
        ('half', 'crashes (exit code 3)', 'FAULT'),
        ('wrong', 'cannot be checked: ValueError: enough', 'note'),
        ('hangs', 'no answer in 3 s', 'FAULT'),
        ('fine', 'yes', 'ok'),
    ]
