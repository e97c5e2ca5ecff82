"""train, test, eval, print_config and vfe, called as a user does: flags, files, mistakes."""

import json
import os
import pickle
import re
import subprocess
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
        ('--resume auto', {'resume': 'auto'}),
        ('--resume', {'resume': 'auto'}),
        ('--resume-from f.pth --no-validate', {'resume_from': 'f.pth', 'no_validate': True}),
        ('--gpus 1', {'device': None}),
        ('--gpus 0', {'device': 'cpu'}),
        ('--gpu-ids 2', {'device': 'cuda:2'}),
        ('--device cuda:1 --amp bf16', {'device': 'cuda:1', 'amp': 'bf16'}),
        ('--options a=1', {'cfg_options': {'a': 1}}),
        (
            '--cfg-options a.b=1 c=(1,2) d=[x,y]',
            {'cfg_options': {'a.b': 1, 'c': (1, 2), 'd': ['x', 'y']}},
        ),
        ('--auto-scale-lr --seed 3 --deterministic --launcher slurm', {'seed': 3}),
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
        ('c.py --gpu-ids 0 1 2 3', 'tools/dist_train.sh c.py 4'),
        ('c.py --options a=1 --cfg-options a=2', 'one of them'),
        ('c.py --resume auto --resume-from f', 'not allowed with'),
        ('{here}/absent.py', 'error: No config file .*absent.py'),
        ('{toy} --cfg-options modle.x=1', 'error: --cfg-options: there is no `modle`'),
        ('{toy} --cfg-options model.widht=1', "'widht'.*mean 'width'"),
        ('{toy} --resume-from {here}/no.pth', 'error: No checkpoint at .*no.pth'),
        ('{toy} --cfg-options load_from={here}/no.pth', 'train that model first.*load_from=None'),
        ('{toy} --amp fp16 --device cpu', '--amp bf16'),
        ('{toy} --cfg-options model.num_classes=7', r'model\.num_classes.*is 7'),
        ('{toy} --auto-scale-lr --cfg-options auto_scale_lr=None', 'base_batch_size'),
        ('{toy} --cfg-options model.explode_at=2', 'not finite at iteration 2'),
        ('{toy} --cfg-options optim_wrapper=None', 'config has no optim_wrapper'),
        ('{selsa} load_from=None {heads}=7', 'error: in_channels=256 is no multiple'),
        ('{selsa} load_from=None model.detector.backbone.depth=19', 'error: ResNet depth'),
    ],
)
def test_a_mistake_in_training_is_one_message(refused, repo, toy, tmp_path, argv, words):
    selsa = f'{repo}/configs/sample/selsa_r18.py --cfg-options'
    heads = 'model.detector.roi_head.bbox_head.aggregator.num_attention_blocks'
    argv = argv.format(toy=toy, here=tmp_path, selsa=selsa, heads=heads).split()
    said = refused('tools/train.py', *argv, '--work-dir', tmp_path / 'w')
    assert re.search(words, said, re.DOTALL), said


# --- test ----------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def checkpoint(toy, tmp_path_factory):
    """Random weights in the container of version 1, with names from data parallelism."""
    import engine_toy

    torch.manual_seed(0)
    weights = engine_toy.ToyDetector().state_dict()
    path = tmp_path_factory.mktemp('weights') / 'toy.pth'
    torch.save({'meta': {}, 'state_dict': {f'module.{k}': v for k, v in weights.items()}}, path)
    return path


@pytest.mark.parametrize(
    ('argv', 'words'),
    [
        ('c.py --eval bbox', 'give one checkpoint'),
        ('c.py f.pth --checkpoint g.pth --eval bbox', 'give one checkpoint'),
        ('c.py f.pth', 'at least one of --out, --eval, --format-only, --show-dir'),
        ('c.py f.pth --format-only --eval bbox', 'omit --eval'),
        ('c.py f.pth --out r.json', 'must end in .pkl'),
        ('c.py f.pth --eval segm', 'bbox'),
        ('c.py f.pth --eval bbox --options a=1 --eval-options b=1', 'one of them'),
        ('c.py f.pth g.pth --eval bbox', 'unrecognized'),
        ('{toy} --cfg-options model.width=8', r'not fit.*conv1\.weight.*--allow-partial'),
        ('{toy} --eval-options scal=2', "no metric takes.*mean 'scale'"),
        ('{toy} --cfg-options model.num_classes=5', r'model\.num_classes.*is 5.*2 classes'),
        ('{toy} --cfg-options test_dataloader=None', 'Cannot test.*test_dataloader'),
    ],
)
def test_a_mistake_in_testing_is_one_message(refused, toy, checkpoint, tmp_path, argv, words):
    argv = argv.format(toy=f'{toy} {checkpoint} --eval bbox').split()
    said = refused('tools/test.py', *argv, '--work-dir', tmp_path)
    assert re.search(words, said, re.DOTALL), said


def test_results_are_written_with_options(call, toy, checkpoint, tmp_path):
    flags = '--eval bbox --eval-options scale=2.0 --out r.pkl --work-dir w --fuse-conv-bn'
    options = ('--cfg-options', 'test_dataloader.dataset.lengths=[2,2]')
    call('tools/test.py', toy, checkpoint, *flags.split(), *options, cwd=tmp_path)
    results = pickle.loads((tmp_path / 'r.pkl').read_bytes())
    assert len(results) == 4 and results[0][0].shape == (1, 5)
    assert 'toy/score' in next((tmp_path / 'w').rglob('*.log')).read_text()


def test_partial_weights_can_be_allowed(call, toy, checkpoint, tmp_path):
    flags = ('--work-dir', tmp_path, '--allow-partial', '--cfg-options', 'model.width=8')
    call('tools/test.py', toy, '--eval', 'bbox', '--checkpoint', checkpoint, *flags)
    assert 'of another shape' in next(tmp_path.rglob('*.log')).read_text()


# --- eval ----------------------------------------------------------------------------------------

SCORED = """
test_dataloader = dict(dataset=dict(type='CocoVideoDataset', ann_file='a.json'))
test_evaluator = dict(type='VideoDetectionMetric')
"""


@pytest.fixture
def scored(tmp_path):
    """A folder with annotations of three frames, results of two of them, and a config."""
    place = dict(bbox=[10, 10, 30, 30])
    box = dict(place, area=900, iscrowd=False, video_id=1)
    size = dict(video_id=1, width=100, height=80)
    content = dict(videos=[dict(id=1, name='val/one')])
    content['categories'] = [dict(id=i, name=name) for i, name in enumerate('ab', 1)]
    content['images'] = [
        dict(size, id=i, frame_id=i - 1, file_name=f'val/one/{i - 1}.J') for i in (1, 2, 3)
    ]
    content['annotations'] = [
        dict(box, id=i, image_id=i, category_id=1 + i % 2, instance_id=i % 2) for i in (1, 2, 3)
    ]
    results = [dict(place, image_id=i, category_id=1 + i % 2, score=i / 10) for i in (1, 2)]
    (tmp_path / 'a.json').write_text(json.dumps(content))
    (tmp_path / 'r.json').write_text(json.dumps(results))
    (tmp_path / 'tiny.py').write_text(SCORED)
    return tmp_path


def test_a_coco_json_is_scored(repo, scored):
    command = [sys.executable, repo / 'tools/eval.py', 'tiny.py', 'r.json', '--eval', 'bbox']
    place = dict(cwd=scored, env=dict(os.environ, PYTHONPATH=str(repo)))
    done = subprocess.run(command, capture_output=True, text=True, **place)
    assert done.returncode == 0, done.stderr
    assert {'AP50 (VID)', 'AP50 (COCO)'} <= set(re.findall(r'AP50 \(\w+\)', done.stdout))
    metrics = json.loads((scored / 'work_dirs/tiny/metrics.json').read_text())
    assert metrics['vid/AP50/a'] == pytest.approx(1) and metrics['coco/AP50'] < 1
    assert metrics['vid/AP50/b'] == pytest.approx(0.5)
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
        ('r.json --cfg-options {data}=1', r'error: The config has no {data}\.ann_file'),
        ('r.pkl', r'error: r\.pkl: there is no such results file'),
        ('', 'give one results file'),
        ('r.json --eval segm', "invalid choice: 'segm'"),
        ('r.json --eval-options motionfile=m', "--eval-options: there is no 'motionfile'. Known:"),
    ],
)
def test_a_mistake_in_scoring_is_one_message(refused, scored, argv, words):
    argv, words = (text.replace('{data}', 'test_dataloader.dataset') for text in (argv, words))
    assert re.search(words, refused('tools/eval.py', 'tiny.py', *argv.split(), cwd=scored))


# --- print_config --------------------------------------------------------------------------------


@pytest.fixture
def printed(call, repo, capsys):
    def printed(*argv) -> str:
        call('tools/misc/print_config.py', *argv, cwd=repo)
        return capsys.readouterr().out

    return printed


def test_the_text_is_a_config_without_bases_that_equals_the_file(printed, repo, tmp_path):
    out = tmp_path / 'new' / 'whole.py'
    option = ('--cfg-options', 'train_dataloader.batch_size=3')
    assert str(out) in printed(CONFIG, *option, '--out', out)
    assert out.read_text() == printed(CONFIG, *option) and '_base_' not in out.read_text()
    whole, file = Config.fromfile(out), Config.fromfile(repo / CONFIG)
    file.train_dataloader.batch_size = 3
    assert {key: whole[key] for key in file} == {key: file[key] for key in file}
    assert whole.work_dir == 'work_dirs/faster_rcnn_r18'


@pytest.mark.parametrize(
    ('key', 'name'),
    [
        ('model.roi_head', 'roi_head'),
        ('train_dataloader.dataset.datasets.0.pipeline.2', 'pipeline_2'),
        ('val_dataloader.dataset.pipeline.1.scale.0', 'scale_0'),
    ],
)
def test_a_part_of_a_config(printed, repo, tmp_path, key, name):
    (tmp_path / 'part.py').write_text(printed(CONFIG, '--key', key))
    part, expected = Config.fromfile(tmp_path / 'part.py'), Config.fromfile(repo / CONFIG)
    for step in key.split('.'):
        expected = expected[int(step)] if step.isdigit() else expected[step]
    assert list(part) == [name] and part[name] == expected


def test_diff_prints_one_line_per_key(printed):
    options = ['optim_wrapper.optimizer.lr=7', 'val_dataloader.dataset.pipeline.1.keep_ratio=False']
    first, second = printed(CONFIG, '--cfg-options', *options, '--diff', CONFIG).splitlines()
    assert first == 'val_dataloader.dataset.pipeline.1.keep_ratio: False -> True'
    assert re.fullmatch(r'optim_wrapper\.optimizer\.lr: 7 -> 0\.\d+', second)
    assert printed(CONFIG, '--diff', CONFIG) == 'No key differs.\n'


@pytest.mark.parametrize(
    ('argv', 'words'),
    [
        ('absent.py', r'error: No config file absent\.py'),
        (f'{CONFIG} --key model.roi_haed', r"no `model\.roi_haed`.*mean 'roi_head'"),
        (f'{CONFIG} --key work_dir.x', r'--key work_dir\.x: .*without keys'),
        (f'{CONFIG} --key param_scheduler.99', "'99' is no index of a list"),
        (f'{CONFIG} --cfg-options model.nekc=1', "'nekc'.*mean 'neck'"),
        (f'{CONFIG} --diff absent.py', r'error: No config file absent\.py'),
        (f'{CONFIG} --out c.txt', r'a config is a \.py file'),
    ],
)
def test_a_mistake_in_printing_is_one_message(refused, repo, argv, words):
    assert re.search(words, refused('tools/misc/print_config.py', *argv.split(), cwd=repo))


# --- vfe -----------------------------------------------------------------------------------------


def test_vfe_has_the_commands_as_verbs(repo, monkeypatch, capsys):
    def vfe(*argv) -> str:
        monkeypatch.setattr(sys, 'argv', ['vfe', *argv])
        with pytest.raises(SystemExit) as caught:
            sys.exit(main())
        assert (caught.value.code == 0) == (argv[:1] != ('trian',))
        return ''.join(capsys.readouterr())

    verbs = re.findall(r'^  (\w+) ', vfe(), re.MULTILINE)
    assert {'train', 'test', 'eval', 'detect'} <= set(verbs)
    for verb in verbs:
        assert vfe(verb, '--help').startswith(f'usage: vfe {verb} ')
    assert "no command 'trian'; known: train" in vfe('trian', 'c.py')
    assert 'vfe=mmdet.programs.commands.vfe:main' in (repo / 'setup.py').read_text()
