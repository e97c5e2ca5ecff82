"""The single checks of tools/doctor.py, each with something wrong."""

import shutil
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True)
def tools_on_path(repo, monkeypatch):
    monkeypatch.setattr(sys, 'path', [str(repo / 'tools'), *sys.path])


def package(folder, name, version, code=''):
    (folder / f'{name}.py').write_text(code)
    info = folder / f'{name}-{version}.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n')


# --- packages ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('version', 'lower', 'status'),
    [
        ('2.10.0', '2.4', 'ok'),
        ('2.4', '2.4.1', 'FAULT'),
        ('2.4.1+cu130', '2.4.1', 'ok'),
        ('0.9rc1', '1', 'FAULT'),
        ('1.0', '', 'ok'),
    ],
)
def test_versions(tmp_path, monkeypatch, version, lower, status):
    from diagnosis.packages import check_required

    package(tmp_path, 'quokka', version)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'quokka', raising=False)
    (found,) = check_required('quokka', lower)
    assert found.status == status and found.value.startswith(version)
    if status == 'FAULT':
        assert found.advice == f"pip install --upgrade 'quokka>={lower}'"


def test_a_package_that_misses_one_of_its_own(tmp_path, monkeypatch):
    """It is there, so that installing it again is no cure by itself: the reason is shown."""
    from diagnosis.packages import check_required

    package(tmp_path, 'numbat', '1.0', 'import absent_of_numbat')
    monkeypatch.syspath_prepend(tmp_path)
    (found,) = check_required('numbat', '1')
    assert found.status == 'FAULT' and 'absent_of_numbat' in found.value


def test_two_distributions_of_one_module(tmp_path, monkeypatch):
    from diagnosis import packages

    monkeypatch.setitem(packages.SAME_MODULE, 'quoll', ('quoll', 'quoll-gui'))
    package(tmp_path, 'quoll', '1.0')
    package(tmp_path, 'quoll_gui', '2.0')
    monkeypatch.syspath_prepend(tmp_path)
    first, second = packages.check_required('quoll', '1')
    assert first.status == 'ok' and second.status == 'note'
    assert second.advice == "pip uninstall quoll quoll-gui && pip install 'quoll>=1'"


def test_requirements_are_those_of_setup_py(repo):
    from diagnosis.packages import package_checks, requirements, split_requirement

    required, extras = requirements()
    text = (repo / 'setup.py').read_text()
    assert len(required) > 8 and all(f"'{line}'" in text for line in required)
    assert {'tensorboard', 'app'} <= set(extras)
    sections = {check.name: check.section for check in package_checks()}
    assert sections['torch'] == 'Packages' and sections['tensorboard'] == 'Optional features'
    assert 'dev' not in sections
    assert split_requirement('a-b[c]>=1.2.3') == ('a-b', '1.2.3')
    assert split_requirement('packaging') == ('packaging', '')


def test_a_feature_that_is_off_and_one_that_is_broken(tmp_path, monkeypatch):
    from diagnosis.packages import check_feature

    (absent,) = check_feature('quokka', ['absent-package>=3'])
    assert absent.status == 'off' and absent.advice == "pip install 'absent-package>=3'"
    package(tmp_path, 'bilby', '1.0', 'raise OSError("no libbilby.so")')
    monkeypatch.syspath_prepend(tmp_path)
    (broken,) = check_feature('bilby', ['bilby'])
    assert broken.status == 'off' and 'no libbilby.so' in broken.value


# --- machine -------------------------------------------------------------------------------------


@pytest.mark.parametrize('fault', ['order', 'error'])
def test_wrong_operations_are_faults(monkeypatch, fault):
    import torchvision
    from diagnosis.machine import check_ops

    def nms(boxes, scores, threshold):
        if fault == 'error':
            raise RuntimeError('operator torchvision::nms does not exist')
        return torch.arange(3)

    monkeypatch.setattr(torchvision.ops, 'nms', nms)
    found = {finding.name: finding for finding in check_ops()}
    assert found['nms (cpu)'].status == 'FAULT'
    words = 'does not exist' if fault == 'error' else '[0, 1, 2] instead of [1, 2]'
    assert words in found['nms (cpu)'].value
    assert found['roi_align (cpu)'].status == 'ok'


def test_roi_align_without_the_half_pixel_is_a_fault(monkeypatch):
    import torchvision
    from diagnosis.machine import wrong_roi_align

    assert wrong_roi_align('cpu') == ''
    right = torchvision.ops.roi_align
    monkeypatch.setattr(
        torchvision.ops, 'roi_align', lambda *a, **k: right(*a, **dict(k, aligned=False))
    )
    assert wrong_roi_align('cpu').startswith('gives [33')


def test_gpus(monkeypatch):
    from diagnosis import machine

    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda i: (10_000_000_000, 80_000_000_000))
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda i: (9, 0))
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda i: f'Card {i}')
    monkeypatch.setattr(machine, 'driver_version', lambda: '580.1')
    found = list(machine.check_gpus())
    assert 'driver 580.1' in found[0].value
    assert [f.name for f in found[1:]] == ['GPU 0', 'GPU 1']
    assert found[2].value == 'Card 1, 10.0 of 80.0 GB free, compute capability 9.0'


@pytest.mark.parametrize(('driver', 'status'), [('', 'off'), ('470.1', 'note')])
def test_a_gpu_that_torch_cannot_use(monkeypatch, driver, status):
    from diagnosis import machine

    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(machine, 'driver_version', lambda: driver)
    _, found = machine.check_gpus()
    assert found.status == status and driver in found.value
    assert ('pytorch.org' in found.advice) == bool(driver)


def test_little_or_read_only_disk(monkeypatch, tmp_path):
    from diagnosis import machine

    monkeypatch.chdir(tmp_path)
    usage = shutil.disk_usage(tmp_path)
    gb = 10**9
    big, small = usage._replace(total=90 * gb, free=50 * gb), usage._replace(total=gb, free=gb)
    for given, status in ((big, 'ok'), (small, 'note')):
        monkeypatch.setattr(machine.shutil, 'disk_usage', lambda path, given=given: given)
        found = {f.name: f for f in machine.check_disk()}
        assert found['work_dirs'].status == status
    (tmp_path / 'work_dirs').write_text('a file, no folder')
    found = {f.name: f for f in machine.check_disk()}
    assert 'cannot be written' in found['work_dirs'].value


# --- toolbox -------------------------------------------------------------------------------------


def test_video_without_h264_is_a_note(monkeypatch):
    from diagnosis.toolbox import check_video

    from mmdet.video import writer as video_writer

    monkeypatch.setattr(video_writer, '_CODECS', ('mpeg4',))
    monkeypatch.setattr(video_writer, 'find_codec', lambda: 'mpeg4')
    found = {finding.name: finding for finding in check_video()}
    assert found['write video'].status == 'note' and 'mpeg4' in found['write video'].value
    assert found['read video'].value == 'mpeg4 works'


def test_frames_that_come_back_changed_are_a_note(monkeypatch):
    from diagnosis import toolbox

    from mmdet.video.writer import VideoWriter

    right = VideoWriter.write
    monkeypatch.setattr(VideoWriter, 'write', lambda self, image: right(self, image // 2))
    found = {finding.name: finding for finding in toolbox.check_video()}
    assert found['read video'].status == 'note' and 'changed by' in found['read video'].value
    monkeypatch.setattr(VideoWriter, '__init__', lambda *a, **k: Fraction(1, 0))
    found = {finding.name: finding for finding in toolbox.check_video()}
    assert 'ZeroDivisionError' in found['write video'].value


def test_caches(monkeypatch, tmp_path):
    from diagnosis.toolbox import check_caches

    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('VFE_CACHE', str(tmp_path / 'file'))
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    found = {finding.name: finding for finding in check_caches()}
    assert found['index cache'].status == 'note' and 'VFE_CACHE=DIR' in found['index cache'].advice
    assert found['weights cache'].value == str(tmp_path / 'hub' / 'checkpoints')


def test_parts_that_do_not_import(monkeypatch):
    from diagnosis.toolbox import check_parts

    monkeypatch.setitem(sys.modules, 'mmdet.datasets', None)
    (found,) = check_parts()
    assert found.status == 'FAULT' and found.value.startswith('import mmdet.datasets fails')


# --- isolation -----------------------------------------------------------------------------------

SCRIPT = """
import os, sys, time
sys.path.insert(0, {tools!r})
from diagnosis.finding import Check, Finding
from diagnosis.isolation import run_here

def fine(): print('noise of a package'); yield Finding('fine', 'yes')
def half(): yield Finding('half', 'first'); os._exit(3)
def ends(): raise SystemExit('enough'); yield
def hangs(): time.sleep(60); yield
functions = [fine, half, ends, hangs, fine]
run_here([Check('s', f.__name__, f) for f in functions][int(sys.argv[1]) :])
"""


def test_checks_that_end_or_hang_their_process(repo, tmp_path, monkeypatch):
    from diagnosis import isolation
    from diagnosis.finding import Check

    script = tmp_path / 'checks.py'
    script.write_text(SCRIPT.format(tools=str(repo / 'tools')))
    monkeypatch.setattr(isolation, 'LIMIT_S', 3)
    checks = [Check('s', name, lambda: ()) for name in ('fine', 'half', 'ends', 'hangs', 'last')]
    command = [sys.executable, str(script)]
    found = [(f.name, f.value, f.status) for _, f in isolation.run_isolated(checks, command)]
    assert found == [
        ('fine', 'yes', 'ok'),
        ('half', 'first', 'ok'),
        ('half', 'crashes (exit code 3)', 'FAULT'),
        ('ends', 'cannot be checked: SystemExit: enough', 'note'),
        ('hangs', 'no answer in 3 s', 'FAULT'),
        ('fine', 'yes', 'ok'),
    ]


def test_versions_that_read_wrong_are_too_old(monkeypatch):
    """PyAV before 17 decodes HD with the colours of SD, OpenCV before 5 leaves WebP turned."""
    from diagnosis import packages

    required = dict(map(packages.split_requirement, packages.requirements()[0]))
    for name, version in {'av': '16.1.0', 'opencv-python-headless': '4.12.0.88'}.items():
        monkeypatch.setattr(packages, 'installed', lambda _, name=name, v=version: [(name, v)])
        (found,) = packages.check_required(name, required[name])
        assert found.status == 'FAULT' and found.value == f'{version} is too old'
        assert found.advice == f"pip install --upgrade '{name}>={required[name]}'"


def test_colours_of_another_standard_are_a_note(monkeypatch):
    from diagnosis import toolbox

    from mmdet.video.writer import VideoWriter

    to_hd = np.array([[0.0722, 0.7152, 0.2126], [0.5, -0.3854, -0.1146], [-0.0458, -0.4542, 0.5]])
    to_sd = np.array([[0.114, 0.587, 0.299], [0.5, -0.3313, -0.1687], [-0.0813, -0.4187, 0.5]])
    wrong = to_hd.T @ np.linalg.inv(to_sd).T  # BGR to YCbCr of BT.709, and back by BT.601
    right = VideoWriter.write

    def write(self, image):
        right(self, np.clip(image @ wrong, 0, 255).round().astype(np.uint8))

    monkeypatch.setattr(VideoWriter, 'write', write)
    found = {finding.name: finding for finding in toolbox.check_video()}
    assert found['read video'].status == 'note' and 'changed by' in found['read video'].value
