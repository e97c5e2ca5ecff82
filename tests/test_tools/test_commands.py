"""train, test, eval, print_config and vfe, called as a user does: flags, files, mistakes."""

import contextlib
import json
import os
import pickle
import re
import sys

import pytest
import torch
from mmengine import Config

from mmdet.programs.commands import train
from mmdet.programs.commands.vfe import main

CONFIG = 'configs/sample/faster_rcnn_r18.py'


# --- train ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('argv', 'expected'),
    [
        ('', {'resume': None, 'device': None, 'launcher': 'none'}),
        ('--resume', {'resume': 'auto'}),
        ('--resume-from f.pth --no-validate', {'resume_from': 'f.pth', 'no_validate': True}),
        ('--gpus 0', {'device': 'cpu'}),
        ('--gpu-ids 2', {'device': 'cuda:2'}),
        ('--options a=1', {'cfg_options': {'a': 1}}),
        ('--cfg-options a.b=1 c=(1,2)', {'cfg_options': {'a.b': 1, 'c': (1, 2)}}),
        ('--amp bf16 --auto-scale-lr --seed 3 --deterministic --launcher slurm', {'seed': 3}),
        ('--local-rank 1 --launcher pytorch', {'launcher': 'pytorch'}),
    ],
)
def test_flags_of_training(monkeypatch, argv, expected):
    monkeypatch.delenv('LOCAL_RANK', raising=False)
    args = vars(train.parse_args(['c.py', *argv.split()]))
    assert {name: args[name] for name in expected} == expected
    assert os.environ.pop('LOCAL_RANK', None) == ('1' if '--local-rank' in argv else None)


@pytest.mark.parametrize(
    ('argv', 'words'),
    [
        ('c.py --gpus 2', 'tools/dist_train.sh c.py 2'),
        ('c.py --options a=1 --cfg-options a=2', 'one of them'),
        ('{here}/absent.py', 'error: No config file .*absent.py'),
        ('{toy} --cfg-options model.widht=1', "'widht'.*mean 'width'"),
        ('{toy} --resume-from {here}/no.pth', 'error: No checkpoint at .*no.pth'),
        ('{toy} --cfg-options load_from={here}/no.pth', 'train that model first.*load_from=None'),
        ('{toy} --auto-scale-lr --cfg-options auto_scale_lr=None', 'base_batch_size'),
        ('{toy} --cfg-options model.explode_at=2', 'not finite at iteration 2'),
        ('{toy} --cfg-options optim_wrapper=None', 'config has no optim_wrapper'),
    ],
)
def test_a_mistake_in_training_is_one_message(refused, toy, tmp_path, argv, words):
    argv = argv.format(toy=toy, here=tmp_path).split()
    said = refused('tools/train.py', *argv, '--work-dir', tmp_path / 'w')
    assert re.search(words, said, re.DOTALL), said


# --- test ----------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def checkpoint(toy, tmp_path_factory):
    """Random weights in the container of version 1, with names from data parallelism."""
    import engine_toy

    weights = engine_toy.ToyDetector().state_dict()
    path = tmp_path_factory.mktemp('weights') / 'toy.pth'
    torch.save({'meta': {}, 'state_dict': {f'module.{k}': v for k, v in weights.items()}}, path)
    return path


@pytest.mark.parametrize(
    ('argv', 'words'),
    [
        ('c.py --eval bbox', 'give one checkpoint'),
        ('c.py f.pth', 'at least one of --out, --eval, --format-only, --show-dir'),
        ('c.py f.pth --out r.json', 'must end in .pkl'),
        ('{toy} --cfg-options model.width=8', r'not fit.*conv1\.weight.*--allow-partial'),
        ('{toy} --eval-options scal=2', "no metric takes.*mean 'scale'"),
        ('{toy} --cfg-options test_dataloader=None', 'Cannot test.*test_dataloader'),
    ],
)
def test_a_mistake_in_testing_is_one_message(refused, toy, checkpoint, tmp_path, argv, words):
    argv = argv.format(toy=f'{toy} {checkpoint} --eval bbox').split()
    said = refused('tools/test.py', *argv, '--work-dir', tmp_path)
    assert re.search(words, said, re.DOTALL), said


def test_results_are_written_with_options(call, toy, checkpoint, tmp_path):
    flags = '--eval bbox --eval-options scale=2.0 --out r.pkl --work-dir w --allow-partial'
    options = ('--cfg-options', 'test_dataloader.dataset.lengths=[2,2]', 'model.width=8')
    call('tools/test.py', toy, '--checkpoint', checkpoint, *flags.split(), *options, cwd=tmp_path)
    results = pickle.loads((tmp_path / 'r.pkl').read_bytes())
    assert len(results) == 4 and results[0][0].shape == (1, 5)
    log = next((tmp_path / 'w').rglob('*.log')).read_text()
    assert 'toy/score' in log and 'of another shape' in log


# --- eval ----------------------------------------------------------------------------------------

SCORED = """
test_dataloader = dict(dataset=dict(type='CocoVideoDataset', ann_file='a.json'))
test_evaluator = dict(type='VideoDetectionMetric')
"""


@pytest.fixture
def scored(tmp_path):
    """A folder with annotations of three frames, results of two of them, and a config."""
    place = dict(bbox=[10, 10, 30, 30])
    content = dict(videos=[dict(id=1, name='val/one')], images=[], annotations=[])
    content['categories'] = [dict(id=i, name=name) for i, name in enumerate('ab', 1)]
    for i in (1, 2, 3):
        image = dict(id=i, video_id=1, width=100, height=80, frame_id=i - 1)
        content['images'].append(dict(image, file_name=f'val/one/{i - 1}.J'))
        box = dict(place, id=i, image_id=i, video_id=1, category_id=1 + i % 2, instance_id=1)
        content['annotations'].append(dict(box, area=900, iscrowd=False))
    results = [dict(place, image_id=i, category_id=1 + i % 2, score=i / 10) for i in (1, 2)]
    (tmp_path / 'a.json').write_text(json.dumps(content))
    (tmp_path / 'r.json').write_text(json.dumps(results))
    (tmp_path / 'tiny.py').write_text(SCORED)
    return tmp_path


def test_a_coco_json_is_scored(call, scored):
    call('tools/eval.py', 'tiny.py', 'r.json', '--eval', 'bbox', cwd=scored)
    metrics = json.loads((scored / 'work_dirs/tiny/metrics.json').read_text())
    assert metrics['vid/AP50/a'] == pytest.approx(1) and metrics['coco/AP50'] < 1
    assert (scored / 'work_dirs/tiny/per_class.csv').is_file()


def test_options_of_1x_and_a_frame_list(call, scored):
    (scored / 'first.txt').write_text('val/one 0\nval/one 1\n')
    options = ('--eval-options', 'frame_list=first.txt', 'vid_style=True', 'metrics=vid')
    arguments = ('tiny.py', '--out', 'r.json', '--work-dir', 'w')
    call('tools/eval.py', *arguments, *options, cwd=scored)
    metrics = json.loads((scored / 'w/metrics.first.json').read_text())
    assert metrics['vid/AP50'] == pytest.approx(1)
    assert not any(name.startswith('coco') for name in metrics)


@pytest.mark.parametrize(
    ('argv', 'words'),
    [
        ('r.json --cfg-options {data}.ann_file=none.json', r'none\.json: there is no such annot'),
        ('r.pkl', r'error: r\.pkl: there is no such results file'),
        ('r.json --eval segm', "invalid choice: 'segm'"),
        ('r.json --eval-options motionfile=m', "--eval-options: there is no 'motionfile'. Known:"),
    ],
)
def test_a_mistake_in_scoring_is_one_message(refused, scored, argv, words):
    argv, words = (text.replace('{data}', 'test_dataloader.dataset') for text in (argv, words))
    assert re.search(words, refused('tools/eval.py', 'tiny.py', *argv.split(), cwd=scored))


# --- print_config --------------------------------------------------------------------------------


def test_a_config_is_printed_whole_in_part_and_against_another(call, repo, tmp_path, capsys):
    def printed(*argv) -> str:
        call('tools/misc/print_config.py', CONFIG, *argv, cwd=repo)
        return capsys.readouterr().out

    out, batch = tmp_path / 'new' / 'whole.py', 'train_dataloader.batch_size=3'
    assert str(out) in printed('--cfg-options', batch, '--out', out)
    assert '_base_' not in out.read_text()
    whole, file = Config.fromfile(out), Config.fromfile(repo / CONFIG)
    file.train_dataloader.batch_size = 3
    assert {key: whole[key] for key in file} == {key: file[key] for key in file}
    part = printed('--key', 'train_dataloader.dataset.datasets.0.pipeline.2')
    (tmp_path / 'part.py').write_text(part)
    expected = file.train_dataloader.dataset.datasets[0].pipeline[2]
    assert Config.fromfile(tmp_path / 'part.py').pipeline_2 == expected
    options = ('--cfg-options', 'val_dataloader.dataset.pipeline.1.keep_ratio=False')
    difference = 'val_dataloader.dataset.pipeline.1.keep_ratio: False -> True\n'
    assert printed(*options, '--diff', CONFIG) == difference


# --- vfe -----------------------------------------------------------------------------------------


def test_vfe_has_the_commands_as_verbs(repo, monkeypatch, capsys):
    def vfe(*argv) -> str:
        monkeypatch.setattr(sys, 'argv', ['vfe', *argv])
        with contextlib.suppress(SystemExit):
            main()
        return ''.join(capsys.readouterr())

    verbs = re.findall(r'^  (\w+) ', vfe(), re.MULTILINE)
    assert {'train', 'test', 'eval', 'detect'} <= set(verbs)
    for verb in verbs:
        assert vfe(verb, '--help').startswith(f'usage: vfe {verb} ')
    assert 'vfe=mmdet.programs.commands.vfe:main' in (repo / 'setup.py').read_text()
