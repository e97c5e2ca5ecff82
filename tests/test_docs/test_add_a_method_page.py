"""docs/add_a_method.md, followed word for word: its files are written, its test is run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import mmdet.engine.register
import mmdet.evaluation
import mmdet.models  # noqa: F401  (all registered before the first test copies the registries)
from mmdet import plans
from mmdet.engine.config_check import check_config
from mmdet.engine.config_load import load_config
from mmdet.models.vid.frame_flow import REGIONS
from mmdet.programs.convert import convert_det, convert_vid
from mmdet.programs.sample import SampleSpec, make_sample_vid
from mmdet.registry import DATASETS, MODELS, TRANSFORMS

REPO = Path(__file__).resolve().parents[2]
PAGE = (REPO / 'docs/add_a_method.md').read_text()
FILES = dict(re.findall(r'```python\n# (my_project/\w+\.py)\n(.*?)```', PAGE, re.DOTALL))
TEST_IT = re.search(r'```bash\n(.*?)\n```', PAGE)[1].split()


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A working directory with the page's files, the commands and a very small sample."""
    folder = tmp_path_factory.mktemp('place')
    for name in ('tools', 'configs'):
        (folder / name).symlink_to(REPO / name)
    (folder / 'my_project').mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    sample = folder / 'data/sample'
    make_sample_vid(sample, SampleSpec(train_videos=2, val_videos=1, det_images=2))
    for convert in (convert_vid, convert_det):
        convert(sample, sample / 'annotations')
    return folder


@pytest.fixture
def inside(place, monkeypatch):
    """This process works in the place; what it imports and registers there is forgotten after."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, 'path', [str(place), *sys.path])
    for registry in (MODELS, DATASETS, TRANSFORMS):
        monkeypatch.setattr(registry, '_module_dict', registry._module_dict.copy())
    monkeypatch.setattr(plans, 'METHODS', plans.METHODS.copy())
    yield place
    for name in [name for name in sys.modules if name.startswith('my_project')]:
        del sys.modules[name]


def test_the_test_on_the_page_passes(place):
    env = os.environ | {'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(REPO)}
    command = [sys.executable, *TEST_IT[1:]]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, env=env)
    assert done.returncode == 0 and '4 passed' in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize('name', ['selsa_recent', 'selsa_mobilenet', 'selsa_data_parts'])
def test_the_other_recipes_train(inside, name):
    cfg = load_config(f'my_project/{name}.py')
    check_config(cfg)
    model, data = MODELS.build(cfg.model), DATASETS.build(cfg.train_dataloader.dataset)
    losses = model(**model.data_preprocessor([data[0], data[7]], training=True))
    assert all(torch.isfinite(value) for value in losses.values())
    losses['loss_cls'].backward()
    assert any(p.grad.abs().max() > 0 for p in model.detector.backbone.parameters())
    frames = DATASETS.build(cfg.test_dataloader.dataset)
    state = model.eval().init_state(video_id=frames[0].key.video_id)
    for i in range(4):
        found, state = model.step(frames[i], state)
    assert found.image_id == frames[3].key.image_id
    if name == 'selsa_recent':
        assert len(state.contexts[REGIONS]) == 3
