"""tools/doctor.py as a user runs it: here, with broken packages, and with nothing installed."""

import ast
import json
import os
import subprocess
import sys

import pytest

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
OWN = ('diagnosis', 'mmdet', 'sitecustomize')


def doctor(repo, *argv, site=None):
    paths = [str(path) for path in (site, repo) if path]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(paths), OMP_NUM_THREADS='1')
    return subprocess.run(
        [sys.executable, str(repo / 'tools/doctor.py'), *argv],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def blocked(folder, *allowed):
    (folder / 'sitecustomize.py').write_text(BLOCK.format(allowed=(*OWN, *allowed)))
    return folder


def rows(report):
    return {finding['name']: finding for finding in report['findings']}


@pytest.fixture(scope='module')
def healthy(repo):
    return doctor(repo, '--json')


def test_here_everything_works(healthy, repo):
    assert healthy.returncode == 0, healthy.stdout + healthy.stderr
    report = json.loads(healthy.stdout)
    assert report['works'] is True and report['reasons'] == []
    found = rows(report)
    import torch

    assert found['torch']['value'] == torch.__version__.split('+')[0]
    assert found['Python']['value'].startswith('.'.join(map(str, sys.version_info[:3])))
    assert found['mmdet']['value'] == str(repo / 'mmdet')
    assert found['nms (cpu)']['value'] == found['roi_align (cpu)']['value'] == 'works'
    assert found['write video']['value'] == found['read video']['value'] == 'H.264 works'
    assert {'CPU', 'work_dirs', 'index cache', 'weights cache', '--amp bf16'} <= set(found)
    required = {f['name'] for f in report['findings'] if f['section'] == 'Packages'}
    assert {'torch', 'mmengine-lite', 'opencv-python-headless', 'av', 'matplotlib'} <= required


def test_with_the_standard_library_only(repo, tmp_path):
    done = doctor(repo, site=blocked(tmp_path))
    assert done.returncode == 1
    assert 'Traceback' not in done.stdout + done.stderr and done.stderr == ''
    assert '\nTraining and testing cannot work here:\n' in done.stdout
    for name, lower in (('torch', '2.4'), ('numpy', '1.24'), ('opencv-python-headless', '5')):
        assert f'  - {name}: not installed\n' in done.stdout
        assert f"-> pip install '{name}>={lower}'\n" in done.stdout
    assert '`pip install -e .`' in done.stdout.splitlines()[-1]
    assert 'off   tensorboard' in done.stdout and '-> pip install tensorboard\n' in done.stdout
    for section in ('Machine', 'Packages', 'This package', 'Devices', 'Video'):
        assert f'\n{section}\n' in done.stdout


def test_a_package_that_crashes_is_named_and_the_rest_is_checked(repo, tmp_path):
    site = blocked(tmp_path, 'torch', 'cv2', 'numpy')
    (site / 'torch.py').write_text('import os, sys; print("bad CPU", file=sys.stderr); os.abort()')
    (site / 'cv2.py').write_text('raise ImportError("libGL.so.1: cannot open shared object file")')
    (site / 'numpy.py').write_text('raise SystemExit(0)')
    done = doctor(repo, '--json', site=site)
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
    done = doctor(repo, '--json', site=namesake)
    assert done.returncode == 1
    report = json.loads(done.stdout)
    (reason,) = (reason for reason in report['reasons'] if reason.startswith('mmdet'))
    for words in (str(namesake / 'mmdet'), str(repo / 'mmdet'), 'mmdet 3.3.0'):
        assert words in reason
    assert rows(report)['mmdet']['advice'] == f'take {namesake} out of PYTHONPATH'


def test_another_mmdet_behind_ours_is_a_note(repo, namesake, tmp_path_factory):
    first = blocked(tmp_path_factory.mktemp('first'))
    (first / 'mmdet').symlink_to(repo / 'mmdet')
    done = doctor(repo, '--json', site=f'{first}{os.pathsep}{namesake}')
    notes = [f for f in json.loads(done.stdout)['findings'] if f['name'] == 'mmdet']
    assert [note['status'] for note in notes] == ['ok', 'note']
    assert str(namesake / 'mmdet') in notes[1]['value']


def test_it_can_be_read_by_older_pythons(repo):
    """One that is too old is told so, instead of failing on the syntax."""
    files = [repo / 'tools/doctor.py', *(repo / 'tools/diagnosis').glob('*.py')]
    assert len(files) > 5
    for path in files:
        ast.parse(path.read_text(), feature_version=(3, 8))
