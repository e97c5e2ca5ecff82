"""tools/doctor.py as a user runs it: here, with broken packages, and with nothing installed."""

import ast
import json
import os
import subprocess
import sys
from types import SimpleNamespace

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


@pytest.mark.slow
def test_here_everything_works(repo, run_doctor):
    code, report, found = run_doctor('--json', allowed=None)
    assert code == 0 and report['works'] is True and report['reasons'] == []
    assert 'PyTorch version' in report['machine']
    assert found['torch']['value'] == torch.__version__.split('+')[0]
    assert found['mmdet']['value'] == str(repo / 'mmdet')
    assert found['nms (cpu)']['value'] == 'works'
    assert found['video']['value'].startswith('H.264 is written and read')
    required = {row['name'] for row in report['findings'] if row['section'] == 'Packages'}
    assert {'torch', 'mmengine-lite', 'opencv-python-headless', 'av', 'matplotlib'} <= required


def test_with_the_standard_library_only(run_doctor):
    code, said, _ = run_doctor()
    assert code == 1 and 'training and testing cannot work here' in said.lower()
    for need in packages.setup_argument('install_requires'):
        assert f'  - {packages.name_of(need)}: not installed\n' in said
        assert f"-> pip install '{need}'\n" in said
    assert '`pip install -e .`' in said.splitlines()[-1]
    assert 'off   tensorboard' in said and "-> pip install 'tensorboard'\n" in said


def test_a_package_that_crashes_is_named_and_the_rest_is_checked(run_doctor, tmp_path):
    for name, code in (
        ('torch', 'import os, sys; print("bad CPU", file=sys.stderr); os.abort()'),
        ('cv2', 'raise ImportError("libGL.so.1: cannot open shared object file")'),
        ('numpy', 'raise SystemExit(0)'),
    ):
        (tmp_path / f'{name}.py').write_text(code)
    code, _, found = run_doctor('--json', allowed=('torch', 'cv2', 'numpy'))
    assert code == 1
    assert found['torch']['value'] == 'crashes (SIGABRT): bad CPU'
    assert 'libGL.so.1' in found['opencv-python-headless']['value']
    assert '--force-reinstall' in found['opencv-python-headless']['advice']
    assert 'SystemExit' in found['numpy']['value']
    assert found['mmdet']['status'] == 'ok'  # checked after the crash


@pytest.mark.parametrize('first', [True, False])
def test_another_mmdet_is_a_fault_in_our_place_and_a_note_behind_it(
    repo, run_doctor, tmp_path, first
):
    place = tmp_path if first else tmp_path / 'behind'
    (place / 'mmdet').mkdir(parents=True)
    (place / 'mmdet/__init__.py').write_text('# Copyright (c) OpenMMLab.\nimport mmcv\n')
    if not first:
        (tmp_path / 'mmdet').symlink_to(repo / 'mmdet')
    _, report, found = run_doctor('--json', path=place)
    assert found['mmdet']['status'] == ('FAULT' if first else 'note')
    assert str(place / 'mmdet') in found['mmdet']['value']
    assert found['mmdet']['advice'] == f'take {place} out of PYTHONPATH'
    assert any(reason.startswith('mmdet') for reason in report['reasons']) == first


def test_it_can_be_read_by_older_pythons(repo):
    """One that is too old is told so, instead of failing on the syntax."""
    files = [repo / 'tools/doctor.py', *(repo / 'mmdet/programs/doctor').glob('*.py')]
    names = (
        '__init__',
        'programs/__init__',
        'programs/commands/__init__',
        'programs/commands/doctor',
    )
    for path in [*files, *(repo / f'mmdet/{name}.py' for name in names)]:
        ast.parse(path.read_text(), feature_version=(3, 8))


# --- single checks -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('version', 'need', 'status', 'told'),
    [
        ('2.10.0', 'quokka>=2.4', 'ok', ''),
        ('2.4', 'quokka>=2.4.1', 'FAULT', "pip install --upgrade 'quokka>=2.4.1'"),
        ('2.4.1+cu130', 'quokka>=2.4.1', 'ok', ''),
        ('0.9rc1', 'quokka>=1', 'FAULT', "pip install --upgrade 'quokka>=1'"),
        ('1.0', 'quokka', 'ok', ''),
        ('1.0', 'absent-package', 'FAULT', "pip install 'absent-package'"),
    ],
)
def test_versions(tmp_path, monkeypatch, version, need, status, told):
    (tmp_path / 'quokka.py').touch()
    for name in ('quokka', 'quokka_gui'):  # two distributions of one module
        info = tmp_path / f'{name}-{version}.dist-info'
        info.mkdir()
        (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n')
        (info / 'top_level.txt').write_text('quokka')
    monkeypatch.syspath_prepend(tmp_path)
    found, *twins = packages.check_required(need)
    assert (found.status, found.advice) == (status, told)
    for twin in twins:
        assert twin.status == 'note' and twin.advice.startswith('pip uninstall quokka quokka_gui')
    (feature,) = packages.check_feature('app', [need])
    assert feature.status == ('off' if need == 'absent-package' else 'ok')


def refused(*args, **kwargs):
    raise RuntimeError('no room')


def keep_all(boxes, *_):
    return torch.arange(len(boxes))


def small_disk(path):
    return SimpleNamespace(total=64_000_000)


def darker(self, image, write=writer.VideoWriter.write):
    write(self, image // 2)


@pytest.mark.parametrize(
    ('check', 'target', 'name', 'value', 'status', 'words'),
    [
        (packages.check_python, sys, 'version_info', (3, 9, 18), 'FAULT', 'too old'),
        (trials.check_ops, torchvision.ops, 'nms', refused, 'FAULT', 'no room'),
        (trials.check_ops, torchvision.ops, 'nms', keep_all, 'FAULT', '[0, 1, 2]'),
        (trials.check_video, writer.VideoWriter, 'write', refused, 'note', 'no room'),
        (trials.check_video, writer.VideoWriter, 'write', darker, 'note', 'changed by'),
        (trials.check_video, writer, 'find_codec', lambda: 'mpeg4', 'note', 'mpeg4'),
        (trials.check_parts, trials, 'PARTS', ('absent',), 'FAULT', 'import mmdet.absent fails'),
        (trials.check_system, trials.shutil, 'disk_usage', small_disk, 'note', '64 MB'),
    ],
)
def test_what_does_not_work_is_found(monkeypatch, check, target, name, value, status, words):
    monkeypatch.setattr(trials.Path, 'is_dir', lambda path: True)
    with monkeypatch.context() as patch:
        patch.setattr(target, name, value)
        *_, found = check()
    assert found.status == status and words in found.value


@pytest.mark.parametrize(
    ('cards', 'driver', 'expected'),
    [
        (0, None, [('GPU', 'off', 'none')]),
        (0, '470.1', [('GPU', 'note', 'driver 470.1')]),
        (2, '580.1', [('GPU 0', 'ok', 'bf16 or fp16'), ('GPU 1', 'ok', 'no units for bf16')]),
    ],
)
def test_gpus(monkeypatch, cards, driver, expected):
    from torch.utils import collect_env

    monkeypatch.setattr(collect_env, 'get_nvidia_driver_version', lambda run: driver)
    for name, function in dict(
        is_available=lambda: cards > 0,
        device_count=lambda: cards,
        mem_get_info=lambda i: (10_000_000_000, 80_000_000_000),
        get_device_capability=lambda i: (9 - 2 * i, 0),
        get_device_name=lambda i: f'Card {i}',
    ).items():
        monkeypatch.setattr(torch.cuda, name, function)
    found = list(trials.check_gpus())
    for finding, (name, status, words) in zip(found, expected, strict=True):
        assert (finding.name, finding.status) == (name, status) and words in finding.value
    assert ('pytorch.org' in found[0].advice) == (cards == 0 and driver is not None)


SCRIPT = """
import os, sys, time
from mmdet.programs.doctor import doctor
from mmdet.programs.doctor.finding import Check, Finding

def fine(): print('noise of a package'); yield Finding('fine', 'yes')
def half(): yield Finding('half', 'first'); os._exit(3)
def wrong(): raise ValueError('enough'); yield
def hangs(): time.sleep(60); yield
doctor.LIMIT_S = 3
functions = [fine, half, wrong, hangs, fine]
doctor.run_here([Check('s', f.__name__, f) for f in functions][int(sys.argv[1]) :])
"""


def test_checks_that_end_or_hang_their_process(repo, tmp_path, monkeypatch):
    (tmp_path / 'checks.py').write_text(SCRIPT)
    monkeypatch.setenv('PYTHONPATH', str(repo))
    monkeypatch.setattr(doctor, 'LIMIT_S', 3)
    checks = [Check('s', name, lambda: ()) for name in ('fine', 'half', 'wrong', 'hangs', 'last')]
    found = list(doctor.run_isolated(checks, [sys.executable, str(tmp_path / 'checks.py')]))
    assert [(f.section, f.name, f.value, f.status) for f in found] == [
        ('s', 'fine', 'yes', 'ok'),
        ('s', 'half', 'first', 'ok'),
        ('s', 'half', 'crashes (exit code 3)', 'FAULT'),
        ('s', 'wrong', 'cannot be checked: ValueError: enough', 'note'),
        ('s', 'hangs', 'no answer in 3 s', 'FAULT'),
        ('s', 'fine', 'yes', 'ok'),
    ]
