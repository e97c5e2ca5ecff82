"""docs/add_a_method.md, followed word for word: its files are written, its commands run."""

import importlib
import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mmengine import Config

import mmdet.engine.register
import mmdet.evaluation
import mmdet.models  # noqa: F401  (all registered before the first test copies the registries)
from mmdet import plans
from mmdet.core.errors import ConfigError
from mmdet.engine.checkpoint import save_checkpoint
from mmdet.engine.config_check import check_config
from mmdet.engine.config_load import load_config
from mmdet.models.vid.frame_flow import REGIONS
from mmdet.programs.convert import convert_det, convert_vid
from mmdet.programs.sample import SampleSpec, make_sample_vid
from mmdet.registry import DATASETS, MODELS, TRANSFORMS

REPO = Path(__file__).resolve().parents[2]
PAGE = (REPO / 'docs/add_a_method.md').read_text()
FILES = dict(re.findall(r'```python\n# (my_project/\w+\.py)\n(.*?)```', PAGE, re.DOTALL))
COMMANDS = [
    shlex.split(line)
    for block in re.findall(r'```bash\n(.*?)```', PAGE, re.DOTALL)
    for line in block.splitlines()
]
ONE_EPOCH = ['train_cfg.max_epochs=1', 'train_cfg.val_interval=1', 'param_scheduler=[]']


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A working directory with the page's files, the commands and a very small sample."""
    folder = tmp_path_factory.mktemp('place')
    for name in ('tools', 'configs'):
        (folder / name).symlink_to(REPO / name)
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
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


def run(place: Path, words: list[str]) -> str:
    done = subprocess.run(
        [sys.executable, *words[1:]],
        cwd=place,
        capture_output=True,
        text=True,
        env=os.environ | {'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(REPO)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def read(name: str, options: dict | None = None) -> Config:
    """A config of the page, checked as the commands do."""
    cfg = load_config(f'my_project/{name}.py', options)
    check_config(cfg)
    return cfg


def test_the_page_shows_what_this_test_follows():
    assert len(FILES) == 9 and [Path(words[1]).name for words in COMMANDS] == [
        '-m', 'train.py', 'test.py'
    ]  # fmt: skip


def test_the_test_on_the_page_passes(place):
    assert '4 passed' in run(place, COMMANDS[0])


def test_the_test_on_the_page_can_fail(inside):
    page = importlib.import_module('my_project.test_gated_aggregator')
    page.test_equals_a_loop()
    mix = page.GatedAggregator.mix
    page.GatedAggregator.mix = lambda self, query, keys, valid: mix(self, query, keys, None)
    with pytest.raises(AssertionError, match='not close'):
        page.test_equals_a_loop()


@pytest.mark.slow
def test_the_commands(inside, place):
    """One epoch instead of two, from a single-frame model that was not trained."""
    _, train, test = COMMANDS
    single = MODELS.build(load_config('configs/sample/faster_rcnn_r18.py').model)
    save_checkpoint({'state_dict': single.state_dict()}, 'work_dirs/faster_rcnn_r18/epoch_5.pth')
    log = run(place, [*train, '--device', 'cpu', '--cfg-options', *ONE_EPOCH])
    assert '8 missing in the checkpoint: detector.roi_head.bbox_head.aggregator.0.' in log
    assert 'grad_norm' in log and 'loss_cls' in log and 'acc' in log
    weights = torch.load(place / 'work_dirs/selsa_gated/epoch_1.pth')['state_dict']
    layers = [name for name in weights if '.aggregator.' in name]
    assert len(layers) == 2 * 2 * 2 and any('gate.weight' in name for name in layers)
    test = [word.replace('epoch_2', 'epoch_1') for word in test]
    assert 'AP50' in run(place, [*test, '--device', 'cpu'])
    assert next(place.glob('work_dirs/selsa_gated/*/vis_data/scalars.json')).stat().st_size


def shown_errors() -> list[str]:
    lines = re.findall(r'^error: (.*)$', PAGE, re.MULTILINE)
    assert len(lines) == 3
    return lines


@pytest.mark.parametrize(
    ('wrong', 'right', 'number'),
    [
        ("type='GatedAgregator'", "type='GatedAggregator'", 0),
        ('temprature=0.2, in_channels', 'in_channels', 1),
        ('my_project.gated_agregator', 'my_project.gated_aggregator', 2),
    ],
)
def test_a_misspelt_name_gives_the_message_on_the_page(inside, wrong, right, number):
    text = FILES['my_project/selsa_gated.py'].replace(right, wrong)
    Path('my_project/misspelt.py').write_text(text)
    with pytest.raises(ConfigError) as caught:
        read('misspelt')
    pieces = [re.escape(piece) for piece in shown_errors()[number].split('...')]
    assert re.fullmatch('.*'.join(pieces), str(caught.value)), str(caught.value)


def dataset_of(loader: dict):
    return DATASETS.build(loader.dataset)


def test_the_video_method_keeps_the_last_frames(inside):
    """Against SELSA, whose references are given to it as those of a new video."""
    cfg = read('selsa_recent')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).eval()
    selsa = MODELS.build(dict({k: v for k, v in cfg.model.items() if k != 'length'}, type='SELSA'))
    selsa.load_state_dict(model.state_dict())
    frames = dataset_of(cfg.test_dataloader)
    state = model.init_state(video_id=frames[0].key.video_id)
    for i in range(5):
        found, state = model.step(frames[i], state)
        assert len(state.contexts[REGIONS]) == min(i + 1, 3) and len(frames[i].frames) == 1
    last = frames[4]
    last.frames += [replace(frames[i].key, role='ref') for i in (1, 2, 3)]
    last.images = torch.cat([frames[i].images for i in (4, 1, 2, 3)])
    expected, _ = selsa.eval().step(last, selsa.init_state(video_id=last.key.video_id))
    assert len(found) == len(expected) > 0
    torch.testing.assert_close(found.scores, expected.scores, atol=1e-5, rtol=0)


@pytest.mark.parametrize('name', ['selsa_mobilenet', 'selsa_data_parts'])
def test_the_other_recipes_train(inside, name):
    cfg = read(name)
    model = MODELS.build(cfg.model)
    data = dataset_of(cfg.train_dataloader)
    losses = model(**model.data_preprocessor([data[0], data[7]], training=True))
    assert all(torch.isfinite(value) for value in losses.values())
    losses['loss_cls'].backward()
    assert any(p.grad.abs().max() > 0 for p in model.detector.backbone.parameters())


def test_the_sampler_and_the_transform_do_what_they_say(inside):
    videos = read('selsa_data_parts').train_dataloader.dataset.datasets[0]
    clip = DATASETS.build(videos)[6]
    key = clip.key.frame_id
    assert key > 6 and [f.frame_id for f in clip.refs] == [key - 6, key - 3]
    assert [step.type for step in videos.pipeline][-2:] == ['RandomGamma', 'PackClip']


def test_the_dataset_of_two_classes(inside):
    videos = read('selsa_data_parts').test_dataloader.dataset
    own = DATASETS.build(videos | {'type': 'AnimalVideos'})
    assert own.classes == ('dog', 'horse')
    plain = DATASETS.build(videos | {'type': 'CocoVideoDataset', 'classes': ['dog', 'horse']})
    assert tuple(plain.classes) == own.classes and len(plain) == len(own)
