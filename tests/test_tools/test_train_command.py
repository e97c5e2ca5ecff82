"""The flags of tools/train.py, and what a user's mistake looks like."""

import runpy
import sys

import pytest


@pytest.fixture(scope='module')
def command(repo):
    return runpy.run_path(str(repo / 'tools/train.py'))


def refused(parse, capsys, *argv):
    with pytest.raises(SystemExit) as caught:
        parse(list(argv))
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_flags_of_the_interface(command):
    args = command['parse_args'](
        'c.py --work-dir d --resume-from f.pth --no-validate --amp bf16 --auto-scale-lr --seed 3 '
        '--deterministic --launcher slurm --cfg-options a.b=1 c=(1,2) d=[x,y]'.split()
    )
    assert args.cfg_options == {'a.b': 1, 'c': (1, 2), 'd': ['x', 'y']}
    assert args.resume_from == 'f.pth' and args.launcher == 'slurm' and args.seed == 3


@pytest.mark.parametrize(
    ('argv', 'resume'), [(['--resume', 'auto'], 'auto'), (['--resume'], 'auto'), ([], None)]
)
def test_resume(command, argv, resume):
    assert command['parse_args'](['c.py', *argv]).resume == resume


@pytest.mark.parametrize(
    ('argv', 'device'),
    [
        (['--gpus', '1'], None),
        (['--gpus', '0'], 'cpu'),
        (['--gpu-ids', '2'], 'cuda:2'),
        (['--device', 'cuda:1'], 'cuda:1'),
    ],
)
def test_gpus_of_version_1(command, argv, device):
    assert command['parse_args'](['c.py', *argv]).device == device


@pytest.mark.parametrize('argv', [['--gpus', '8'], ['--gpu-ids', *'01234567']])
def test_several_gpus_name_the_command_to_type(command, capsys, argv):
    error = refused(command['parse_args'], capsys, 'c.py', *argv)
    assert 'tools/dist_train.sh c.py 8' in error


def test_options_is_a_deprecated_alias(command, capsys):
    assert command['parse_args'](['c.py', '--options', 'a=1']).cfg_options == {'a': 1}
    assert 'deprecated' in capsys.readouterr().err
    assert 'one of them' in refused(
        command['parse_args'], capsys, 'c.py', '--options', 'a=1', '--cfg-options', 'a=2'
    )


def test_two_ways_to_resume_are_refused(command, capsys):
    error = refused(command['parse_args'], capsys, 'c.py', '--resume', 'auto', '--resume-from', 'f')
    assert 'not allowed with' in error


@pytest.mark.parametrize(
    ('argv', 'words'),
    [
        (['{here}/absent.py'], ['error: No config file', 'absent.py']),
        (['{toy}', '--cfg-options', 'modle.x=1'], ['error: --cfg-options: there is no `modle`']),
        (['{toy}', '--cfg-options', 'model.widht=1'], ["'widht'", "mean 'width'"]),
        (['{toy}', '--resume-from', '{here}/no.pth'], ['error: No checkpoint at', 'no.pth']),
        (
            ['{toy}', '--cfg-options', 'load_from={here}/no.pth'],
            ['error: No checkpoint at', 'train that model first', 'load_from=None'],
        ),
        (['{toy}', '--amp', 'fp16', '--device', 'cpu'], ['--amp bf16']),
        (['{toy}', '--cfg-options', 'model.num_classes=7'], ['model.num_classes', 'is 7']),
        (['{toy}', '--auto-scale-lr', '--cfg-options', 'auto_scale_lr=None'], ['base_batch_size']),
        (['{toy}', '--cfg-options', 'model.explode_at=2'], ['not finite at iteration 2']),
        (['{toy}', '--cfg-options', 'optim_wrapper=None'], ['config has no optim_wrapper']),
        (
            ['{selsa}', '--cfg-options', 'load_from=None', '{heads}=7'],
            ['error: in_channels=256 is no multiple'],
        ),
        (
            ['{selsa}', '--cfg-options', 'load_from=None', 'model.detector.backbone.depth=19'],
            ['error: ResNet depth'],
        ),
    ],
)
def test_a_mistake_is_one_message(command, repo, tmp_path, monkeypatch, argv, words):
    toy = repo / 'tests/test_engine/toy_config.py'
    monkeypatch.syspath_prepend(str(toy.parent))
    selsa = repo / 'configs/sample/selsa_r18.py'
    heads = 'model.detector.roi_head.bbox_head.aggregator.num_attention_blocks'
    argv = [arg.format(toy=toy, here=tmp_path, selsa=selsa, heads=heads) for arg in argv]
    monkeypatch.setattr(sys, 'argv', ['train.py', *argv, '--work-dir', str(tmp_path / 'w')])
    with pytest.raises(SystemExit) as caught:
        command['main']()
    for word in words:
        assert word in str(caught.value.code)
