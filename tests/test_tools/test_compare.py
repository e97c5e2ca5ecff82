"""Comparisons of configs over seeds: which commands run, what is kept, mean and spread."""

import json
import statistics
import subprocess
from pathlib import Path

import pytest

from mmdet.core.errors import ConfigError
from mmdet.programs.commands.compare import parse_args
from mmdet.programs.compare import runs as module
from mmdet.programs.compare.runs import RunError, compare

BASE, ONE, TWO = 'base_model.py', 'one.py', 'two.py'
AP = {('base_model', 0): 0.5, ('base_model', 7): 0.6, ('one', 0): 0.61, ('one', 7): 0.72}


def arguments_of(command: list[str]) -> tuple[str, dict[str, str]]:
    """The tool's name and its flags with their values."""
    rest = command[2:]
    flags = {rest[i]: rest[i + 1] for i in range(len(rest) - 1) if rest[i].startswith('--')}
    return Path(command[1]).name, flags


class FakeTools:
    """Stands in for the processes: writes what the commands write, remembers what was called."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, dict[str, str]]] = []
        self.fail_at: str | None = None
        self.environments: list[dict[str, str]] = []

    def __call__(self, command, stdout, stderr, env):
        self.environments.append(env)
        tool, flags = arguments_of(command)
        folder = Path(flags['--work-dir'])
        key = (folder.parent.name, int(folder.name.removeprefix('seed_')))
        self.calls.append((tool, f'{key[0]} {key[1]}', flags))
        if self.fail_at == tool:
            return subprocess.CompletedProcess(command, 3)
        if tool == 'train.py':
            assert flags['--seed'] == str(key[1])
            (folder / 'epoch_2.pth').write_text('')
        else:
            value = AP.get(key, 0.4) - (0.2 if tool == 'eval.py' else 0)
            metrics = {'vid/AP50': value, 'vid/AP50_fast': None}
            metrics |= {'vid/AP50_medium': value, 'vid/AP50_slow': value}
            name = 'metrics.hard.json' if tool == 'eval.py' else 'metrics.json'
            (folder / name).write_text(json.dumps(metrics))
        return subprocess.CompletedProcess(command, 0)


@pytest.fixture
def tools(tmp_path, monkeypatch):
    fake = FakeTools()
    monkeypatch.setattr(module.subprocess, 'run', fake)
    monkeypatch.chdir(tmp_path)
    for name in (BASE, ONE, TWO):
        Path(name).write_text('train_cfg = dict(max_epochs=2)\n')
    Path('hard.txt').write_text('')
    return fake


def called(tools) -> list[str]:
    """'TOOL RUN' of the calls since the last time."""
    found = [f'{tool} {who}' for tool, who, _ in tools.calls]
    tools.calls.clear()
    return found


def test_every_config_starts_from_the_base_of_its_seed(tools):
    compare([ONE, TWO], [0, 7], 'out', start_from=BASE, frame_list='hard.txt')
    trainings = [(who, flags) for tool, who, flags in tools.calls if tool == 'train.py']
    order = ['base_model 0', 'base_model 7', 'one 0', 'two 0', 'one 7', 'two 7']
    assert [who for who, _ in trainings] == order
    assert all('--cfg-options' not in flags for _, flags in trainings[:2])
    for who, flags in trainings[2:]:
        start = f'load_from=out/base_model/seed_{who[-1]}/epoch_2.pth'
        assert flags['--cfg-options'] == start
    assert sum(tool == 'eval.py' for tool, *_ in tools.calls) == 6


def test_the_table_holds_mean_and_standard_deviation(tools):
    table = compare([ONE, TWO], [0, 7], 'out', start_from=BASE, frame_list='hard.txt').read_text()
    rows = {line.split('|')[1].strip(): line.split('|')[2:-1] for line in table.splitlines()[2:]}
    spread = f'± {statistics.stdev([0.61, 0.72]):.3f}'
    ap = f'0.665 {spread}'
    assert [x.strip() for x in rows['`one.py`']] == ['2', ap, '-', ap, ap, f'0.465 {spread}']
    runs = Path('out/runs.csv').read_text().splitlines()
    assert runs[0] == 'config,seed,AP50,fast,medium,slow,hard' and len(runs) == 7
    assert 'one,7,0.72,,0.72,0.72,0.52' in runs
    single = compare([ONE], [0], 'out', start_from=BASE).read_text()
    assert '| `one.py` | 1 | 0.610 | - | 0.610 | 0.610 |' in single


def test_finished_runs_are_kept_and_begun_ones_go_on(tools):
    compare([ONE], [0], 'out', start_from=BASE)
    tools.fail_at = 'train.py'
    with pytest.raises(RunError, match=r'two, seed 0: train\.py ended with status 3.*train\.log'):
        compare([TWO], [0], 'out', start_from=BASE)
    Path('out/two/seed_0/epoch_1.pth').write_text('')
    tools.fail_at = None
    tools.calls.clear()
    compare([ONE, TWO], [0], 'out', start_from=BASE)
    flags = tools.calls[0][2]
    assert called(tools) == ['train.py two 0', 'test.py two 0']
    assert flags['--resume'] == 'auto' and '--cfg-options' not in flags


DATA = """test_dataloader = dict(dataset=dict(ann_file='data.json'))
custom_imports = dict(imports=['mine'])
"""


@pytest.mark.parametrize(
    ('path', 'text', 'why', 'runs'),
    [
        (
            ONE,
            'train_cfg = dict(max_epochs=2, lr=3)\n' + DATA,
            'the config changed (train_cfg.lr: absent, now 3)',
            ['one 0'],
        ),
        ('data.json', '{"images": []}', 'the annotations changed (data.json)', ['one 0']),
        ('mine.py', 'y = 1', 'the code changed (', ['one 0']),
        (
            'checkout/mmdet/a.py',
            'x = 2',
            'the code changed (mmdet/a.py)',
            ['base_model 0', 'one 0'],
        ),
        (
            'checkout/mmdet/b/new.py',
            '',
            'the code changed (mmdet/b/new.py)',
            ['base_model 0', 'one 0'],
        ),
        (
            BASE,
            'train_cfg = dict(max_epochs=2, by=1)\n',
            'the run that it starts from changed',
            ['base_model 0', 'one 0'],
        ),
    ],
)
def test_a_run_made_from_something_else_is_done_again(
    tools, tmp_path, monkeypatch, capsys, path, text, why, runs
):
    (tmp_path / 'checkout/mmdet/b').mkdir(parents=True)
    Path('checkout/mmdet/a.py').write_text('x = 1')
    monkeypatch.setattr('mmdet.programs.compare.provenance.ROOT', tmp_path / 'checkout')
    Path(ONE).write_text('train_cfg = dict(max_epochs=2)\n' + DATA)
    Path('mine.py').write_text('y = 0')
    Path('data.json').write_text('{}')
    compare([ONE], [0], 'out', start_from=BASE)
    called(tools)
    compare([ONE], [0], 'out', start_from=BASE)
    assert called(tools) == [] and 'done again' not in capsys.readouterr().out
    Path(path).write_text(text)
    Path('out/one/seed_0/mark').write_text('')
    compare([ONE], [0], 'out', start_from=BASE)
    assert called(tools) == [f'{tool} {run}' for run in runs for tool in ('train.py', 'test.py')]
    lines = capsys.readouterr().out.splitlines()
    (line,) = [line for line in lines if 'one, seed 0: done again' in line]
    assert why in line and line.endswith('The old one is out/one/seed_0.stale.')
    assert Path('out/one/seed_0.stale/mark').exists() and not Path('out/one/seed_0/mark').exists()


def test_another_pytorch_and_an_unknown_origin(tools, monkeypatch, capsys):
    compare([ONE], [0], 'out')
    monkeypatch.setattr('mmdet.programs.compare.provenance.torch.__version__', '9.9')
    compare([ONE], [0], 'out')
    assert ', now 9.9)' in capsys.readouterr().out
    Path('out/one/seed_0/provenance.json').unlink()
    called(tools)
    compare([ONE], [0], 'out')
    assert called(tools) == ['train.py one 0', 'test.py one 0']
    assert 'nothing says what it was made from' in capsys.readouterr().out


def test_another_list_of_frames_is_scored_without_training(tools, capsys):
    compare([ONE], [0], 'out', frame_list='hard.txt')
    called(tools)
    Path('hard.txt').write_text('a/1.jpg')
    compare([ONE], [0], 'out', frame_list='hard.txt')
    assert called(tools) == ['test.py one 0', 'eval.py one 0']
    assert 'scored again: hard.txt changed' in capsys.readouterr().out
    compare([ONE], [0], 'out')
    assert called(tools) == []


@pytest.mark.parametrize(
    ('jobs', 'given', 'threads', 'policy'),
    [(4, None, '2', 'PASSIVE'), (2, 'ACTIVE', '4', 'ACTIVE'), (1, None, None, None)],
)
def test_cores_are_divided_among_jobs(tools, monkeypatch, jobs, given, threads, policy):
    for name, value in (('OMP_WAIT_POLICY', given), ('OMP_NUM_THREADS', None)):
        monkeypatch.delenv(name, raising=False)
        if value:
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(module.os, 'cpu_count', lambda: 8)
    compare([ONE, TWO], [0], 'out', jobs=jobs)
    seen = {(e.get('OMP_NUM_THREADS'), e.get('OMP_WAIT_POLICY')) for e in tools.environments}
    assert seen == {(threads, policy)}


def test_mistakes_are_told_before_anything_runs(tools, capsys):
    with pytest.raises(ConfigError, match='different file names'):
        compare([ONE, f'./{ONE}'], [0], 'out')
    with pytest.raises(FileNotFoundError, match='absent'):
        compare(['absent.py'], [0], 'out')
    for flags in (['--jobs', '0'], ['--seeds', '1', '1']):
        with pytest.raises(SystemExit):
            parse_args(['x.py', *flags])
        assert flags[0] in capsys.readouterr().err
    assert not Path('out').exists()
