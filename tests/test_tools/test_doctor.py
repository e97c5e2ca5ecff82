"""tools/doctor.py as a user runs it: here, with broken packages, and with nothing installed."""

import ast
import json
import os
import subprocess
import sys
from collections import namedtuple

import pytest
import torch

from mmdet.programs.doctor import doctor, packages, trials
from mmdet.programs.doctor.finding import Check

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


def run_doctor(repo, *argv, site=None):
    paths = [str(path) for path in (site, repo) if path]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(paths), OMP_NUM_THREADS='1')
    return subprocess.run(
        [sys.executable, str(repo / 'tools/doctor.py'), *argv],
        env=environment,
        capture_output=True,
        text=True,
    )


def blocked(folder, *allowed):
    allowed = ('mmdet', 'sitecustomize', *allowed)
    (folder / 'sitecustomize.py').write_text(BLOCK.format(allowed=allowed))
    return folder


def rows(report):
    return {finding['name']: finding for finding in report['findings']}


@pytest.mark.slow
def test_here_everything_works(repo):
    done = run_doctor(repo, '--json')
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report['works'] is True and report['reasons'] == []
    assert 'PyTorch version' in report['machine']
    found = rows(report)
    assert found['torch']['value'] == torch.__version__.split('+')[0]
    assert found['Python']['value'].startswith('.'.join(map(str, sys.version_info[:3])))
    assert found['mmdet']['value'] == str(repo / 'mmdet')
    assert found['nms (cpu)']['value'] == 'works'
    assert found['video']['value'].startswith('H.264 is written and read')
    required = {f['name'] for f in report['findings'] if f['section'] == 'Packages'}
    assert {'torch', 'mmengine-lite', 'opencv-python-headless', 'av', 'matplotlib'} <= required


def test_with_the_standard_library_only(repo, tmp_path):
    done = run_doctor(repo, site=blocked(tmp_path))
    assert done.returncode == 1
    assert 'Traceback' not in done.stdout + done.stderr and done.stderr == ''
    assert '\nTraining and testing cannot work here:\n' in done.stdout
    for need in packages.setup_argument('install_requires'):
        assert f'  - {packages.name_of(need)}: not installed\n' in done.stdout
        assert f"-> pip install '{need}'\n" in done.stdout
    assert '`pip install -e .`' in done.stdout.splitlines()[-1]
    assert 'off   tensorboard' in done.stdout and "-> pip install 'tensorboard'\n" in done.stdout


def test_a_package_that_crashes_is_named_and_the_rest_is_checked(repo, tmp_path):
    site = blocked(tmp_path, 'torch', 'cv2', 'numpy')
    (site / 'torch.py').write_text('import os, sys; print("bad CPU", file=sys.stderr); os.abort()')
    (site / 'cv2.py').write_text('raise ImportError("libGL.so.1: cannot open shared object file")')
    (site / 'numpy.py').write_text('raise SystemExit(0)')
    done = run_doctor(repo, '--json', site=site)
    assert done.returncode == 1
    found = rows(json.loads(done.stdout))
    assert found['torch']['value'] == 'crashes (SIGABRT): bad CPU'
    assert 'libGL.so.1' in found['opencv-python-headless']['value']
    assert '--force-reinstall' in found['opencv-python-headless']['advice']
    assert 'SystemExit' in found['numpy']['value']
    assert found['mmdet']['status'] == 'ok'  # checked after the crash


@pytest.fixture
def namesake(tmp_path):
    """OpenMMLab's mmdet, installed in a folder."""
    folder = tmp_path / 'mmdet'
    info = tmp_path / 'mmdet-3.3.0.dist-info'
    folder.mkdir()
    info.mkdir()
    (folder / '__init__.py').write_text('# Copyright (c) OpenMMLab.\nimport mmcv\n')
    (info / 'METADATA').write_text('Metadata-Version: 2.1\nName: mmdet\nVersion: 3.3.0\n')
    return blocked(tmp_path)


def test_another_mmdet_in_our_place_is_a_fault_with_both_paths(repo, namesake):
    done = run_doctor(repo, '--json', site=namesake)
    assert done.returncode == 1
    report = json.loads(done.stdout)
    (reason,) = (reason for reason in report['reasons'] if reason.startswith('mmdet'))
    for words in (str(namesake / 'mmdet'), str(repo / 'mmdet'), 'mmdet 3.3.0'):
        assert words in reason
    assert rows(report)['mmdet']['advice'] == f'take {namesake} out of PYTHONPATH'


def test_another_mmdet_behind_ours_is_a_note(repo, namesake, tmp_path_factory):
    first = blocked(tmp_path_factory.mktemp('first'))
    (first / 'mmdet').symlink_to(repo / 'mmdet')
    done = run_doctor(repo, '--json', site=f'{first}{os.pathsep}{namesake}')
    notes = [f for f in json.loads(done.stdout)['findings'] if f['name'] == 'mmdet']
    assert [note['status'] for note in notes] == ['ok', 'note']
    assert str(namesake / 'mmdet') in notes[1]['value']


def test_it_can_be_read_by_older_pythons(repo):
    """One that is too old is told so, instead of failing on the syntax."""
    files = [repo / 'tools/doctor.py', *(repo / 'mmdet/programs/doctor').glob('*.py')]
    files += [repo / 'mmdet/__init__.py', repo / 'mmdet/programs/__init__.py']
    assert len(files) > 5
    for path in files:
        ast.parse(path.read_text(), feature_version=(3, 8))


# --- single checks -------------------------------------------------------------------------------


def package(folder, name, version, code='', module=None):
    (folder / f'{module or name}.py').write_text(code)
    info = folder / f'{name}-{version}.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n')
    (info / 'top_level.txt').write_text(module or name)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of packages that can be imported."""
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for path in tmp_path.glob('*.py'):
        sys.modules.pop(path.stem, None)


@pytest.mark.parametrize(
    ('version', 'need', 'status'),
    [
        ('2.10.0', 'quokka>=2.4', 'ok'),
        ('2.4', 'quokka>=2.4.1', 'FAULT'),
        ('2.4.1+cu130', 'quokka>=2.4.1', 'ok'),
        ('0.9rc1', 'quokka>=1', 'FAULT'),
        ('1.0', 'quokka', 'ok'),
    ],
)
def test_versions(site, version, need, status):
    package(site, 'quokka', version)
    (found,) = packages.check_required(need)
    assert found.status == status and found.value.startswith(version)
    assert found.advice == ('' if status == 'ok' else f"pip install --upgrade '{need}'")


def test_a_package_that_misses_one_of_its_own(site):
    """It is there, so that installing it again is no cure by itself: the reason is shown."""
    package(site, 'numbat', '1.0', 'import absent_of_numbat')
    (found,) = packages.check_required('numbat>=1')
    assert found.status == 'FAULT' and 'absent_of_numbat' in found.value


def test_two_distributions_of_one_module(site):
    package(site, 'quoll', '1.0')
    package(site, 'quoll_gui', '2.0', module='quoll')
    first, second = packages.check_required('quoll>=1')
    assert first.status == 'ok' and second.status == 'note'
    assert second.advice == "pip uninstall quoll quoll_gui && pip install 'quoll>=1'"


def test_a_feature_that_is_off_and_one_that_is_broken(site):
    (absent,) = packages.check_feature('quokka', ['absent-package>=3'])
    assert absent.status == 'off' and absent.advice == "pip install 'absent-package>=3'"
    package(site, 'bilby', '1.0', 'raise OSError("no libbilby.so")')
    (broken,) = packages.check_feature('bilby', ['bilby'])
    assert broken.status == 'off' and 'no libbilby.so' in broken.value


def test_a_python_that_is_too_old(monkeypatch):
    version = namedtuple('version', 'major minor micro')(3, 9, 18)
    monkeypatch.setattr(packages.sys, 'version_info', version)
    (found,) = packages.check_python()
    assert found.status == 'FAULT' and '>=3.10' in found.advice


@pytest.mark.parametrize('fault', ['order', 'error'])
def test_operations_that_do_not_fit_are_faults(monkeypatch, fault):
    import torchvision

    def nms(boxes, scores, threshold):
        if fault == 'error':
            raise RuntimeError('operator torchvision::nms does not exist')
        return torch.arange(3)

    monkeypatch.setattr(torchvision.ops, 'nms', nms)
    found = next(iter(trials.check_ops()))
    words = 'does not exist' if fault == 'error' else '[0, 1, 2] instead of [1, 2]'
    assert found.status == 'FAULT' and words in found.value and 'torchvision' in found.advice


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
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: cards > 0)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: cards)
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda i: (10_000_000_000, 80_000_000_000))
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda i: (9 - 2 * i, 0))
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda i: f'Card {i}')
    found = list(trials.check_gpus())
    for finding, (name, status, words) in zip(found, expected, strict=True):
        assert (finding.name, finding.status) == (name, status) and words in finding.value
    assert ('pytorch.org' in found[0].advice) == (cards == 0 and driver is not None)


def test_little_shared_memory_is_a_note(monkeypatch):
    usage = namedtuple('usage', 'total')(64_000_000)
    monkeypatch.setattr(trials.shutil, 'disk_usage', lambda path: usage)
    monkeypatch.setattr(trials.Path, 'is_dir', lambda path: True)
    found = list(trials.check_system())[1]
    assert found.status == 'note' and '64 MB' in found.value and '--shm-size' in found.advice


@pytest.mark.parametrize(
    ('fault', 'words'), [('no H.264', 'mpeg4'), ('darker', 'changed by'), ('raises', 'no room')]
)
def test_video_that_does_not_work_is_a_note(monkeypatch, fault, words):
    from mmdet.video import writer

    right = writer.VideoWriter.write

    def write(self, image):
        if fault == 'raises':
            raise OSError('no room')
        right(self, image // 2 if fault == 'darker' else image)

    monkeypatch.setattr(writer.VideoWriter, 'write', write)
    if fault == 'no H.264':
        monkeypatch.setattr(writer, '_CODECS', ('mpeg4',))
        monkeypatch.setattr(writer, 'find_codec', lambda: 'mpeg4')
    (found,) = trials.check_video()
    assert found.status == 'note' and words in found.value


def test_parts_that_do_not_import(monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmdet.datasets', None)
    (found,) = trials.check_parts()
    assert found.status == 'FAULT' and found.value.startswith('import mmdet.datasets fails')


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
    script = tmp_path / 'checks.py'
    script.write_text(SCRIPT)
    monkeypatch.setenv('PYTHONPATH', str(repo))
    monkeypatch.setattr(doctor, 'LIMIT_S', 3)
    checks = [Check('s', name, lambda: ()) for name in ('fine', 'half', 'wrong', 'hangs', 'last')]
    found = list(doctor.run_isolated(checks, [sys.executable, str(script)]))
    assert [(f.name, f.value, f.status) for f in found] == [
        ('fine', 'yes', 'ok'),
        ('half', 'first', 'ok'),
        ('half', 'crashes (exit code 3)', 'FAULT'),
        ('wrong', 'cannot be checked: ValueError: enough', 'note'),
        ('hangs', 'no answer in 3 s', 'FAULT'),
        ('fine', 'yes', 'ok'),
    ]
    assert {f.section for f in found} == {'s'}
