"""Comparisons of configs over seeds: which commands run, what is kept, mean and spread."""

import json
import statistics
import subprocess
from pathlib import Path

import pytest
from mmengine import Config

from mmdet.core.errors import ConfigError
from mmdet.engine.config_load import load_config
from mmdet.programs.commands.compare import parse_args
from mmdet.programs.compare import runs as module
from mmdet.programs.compare.config_diff import differences
from mmdet.programs.compare.runs import RunError, compare

BASE, ONE, TWO = 'base_model.py', 'one.py', 'two.py'
AP = {'one 0': 0.61, 'one 7': 0.72}
CONFIG = 'train_cfg = dict(max_epochs=2)\n'
DATA = """test_dataloader = dict(dataset=dict(ann_file='data.json'))
custom_imports = dict(imports=['mine'])
"""


class FakeTools:
    """Stands in for the processes: writes what the commands write, remembers what was called."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, dict[str, str]]] = []
        self.fail_at: str | None = None
        self.environments: list[dict[str, str]] = []

    def __call__(self, command, stdout, stderr, env):
        self.environments.append(env)
        tool = Path(command[1]).name
        flags = {w: command[i + 1] for i, w in enumerate(command[:-1]) if w.startswith('--')}
        folder = Path(flags['--work-dir'])
        run = f'{folder.parent.name} {folder.name.removeprefix("seed_")}'
        self.calls.append((tool, run, flags))
        if self.fail_at == tool:
            return subprocess.CompletedProcess(command, 3)
        if tool == 'train.py':
            assert flags['--seed'] == run.split()[1]
            (folder / 'epoch_2.pth').write_text('')
        else:
            value, name = AP.get(run, 0.4), 'metrics.json'
            if tool == 'eval.py':
                value, name = value - 0.2, 'metrics.hard.json'
            metrics = {f'vid/AP50{part}': value for part in ('', '_medium', '_slow')}
            (folder / name).write_text(json.dumps({**metrics, 'vid/AP50_fast': None}))
        return subprocess.CompletedProcess(command, 0)

    def called(self) -> list[str]:
        """'TOOL RUN' of the calls since the last time."""
        found = [f'{tool} {run}' for tool, run, _ in self.calls]
        self.calls.clear()
        return found


@pytest.fixture
def tools(tmp_path, monkeypatch):
    fake = FakeTools()
    monkeypatch.setattr(module.subprocess, 'run', fake)
    monkeypatch.chdir(tmp_path)
    for name in (BASE, ONE, TWO):
        Path(name).write_text(CONFIG)
    Path('hard.txt').write_text('')
    return fake


def test_every_config_starts_from_the_base_of_its_seed(tools):
    compare([ONE, TWO], [0, 7], 'out', start_from=BASE, frame_list='hard.txt')
    trainings = [(run, flags) for tool, run, flags in tools.calls if tool == 'train.py']
    order = ['base_model 0', 'base_model 7', 'one 0', 'two 0', 'one 7', 'two 7']
    assert [run for run, _ in trainings] == order
    assert all('--cfg-options' not in flags for _, flags in trainings[:2])
    for run, flags in trainings[2:]:
        start = f'load_from=out/base_model/seed_{run[-1]}/epoch_2.pth'
        assert flags['--cfg-options'] == start
    assert sum(tool == 'eval.py' for tool, *_ in tools.calls) == 6


def test_the_table_holds_mean_and_standard_deviation(tools):
    table = compare([ONE, TWO], [0, 7], 'out', start_from=BASE, frame_list='hard.txt').read_text()
    spread = f'± {statistics.stdev([0.61, 0.72]):.3f}'
    ap = f'0.665 {spread}'
    assert f'| `one.py` | 2 | {ap} | - | {ap} | {ap} | 0.465 {spread} |' in table.splitlines()
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
    assert tools.called() == ['train.py two 0', 'test.py two 0']
    assert flags['--resume'] == 'auto' and '--cfg-options' not in flags


@pytest.mark.parametrize(
    ('path', 'text', 'why'),
    [
        (ONE, CONFIG + DATA + 'x = 3', 'the config changed (x: absent, now 3)'),
        ('data.json', '{"images": []}', 'the annotations changed (data.json)'),
        ('mine.py', 'y = 1', 'the code changed ('),
        ('checkout/mmdet/a.py', 'x = 2', 'the code changed (mmdet/a.py)'),
        ('checkout/mmdet/b/new.py', '', 'the code changed (mmdet/b/new.py)'),
        (BASE, CONFIG + 'x = 3', 'the run that it starts from changed'),
    ],
)
def test_a_run_made_from_something_else_is_done_again(
    tools, tmp_path, monkeypatch, capsys, path, text, why
):
    (tmp_path / 'checkout/mmdet/b').mkdir(parents=True)
    Path('checkout/mmdet/a.py').write_text('x = 1')
    monkeypatch.setattr('mmdet.programs.compare.provenance.ROOT', tmp_path / 'checkout')
    Path(ONE).write_text(CONFIG + DATA)
    Path('mine.py').write_text('y = 0')
    Path('data.json').write_text('{}')
    compare([ONE], [0], 'out', start_from=BASE)
    tools.calls.clear()
    compare([ONE], [0], 'out', start_from=BASE)
    assert tools.called() == [] and 'done again' not in capsys.readouterr().out
    Path(path).write_text(text)
    Path('out/one/seed_0/mark').write_text('')
    compare([ONE], [0], 'out', start_from=BASE)
    of_both = path == BASE or path.startswith('checkout')
    again = ['base_model 0', 'one 0'] if of_both else ['one 0']
    assert tools.called() == [f'{tool} {run}' for run in again for tool in ('train.py', 'test.py')]
    printed = capsys.readouterr().out.splitlines()
    (line,) = [line for line in printed if 'one, seed 0: done again' in line]
    assert why in line and line.endswith('The old one is out/one/seed_0.stale.')
    assert Path('out/one/seed_0.stale/mark').exists() and not Path('out/one/seed_0/mark').exists()


def test_another_pytorch_and_an_unknown_origin(tools, monkeypatch, capsys):
    compare([ONE], [0], 'out')
    monkeypatch.setattr('mmdet.programs.compare.provenance.torch.__version__', '9.9')
    compare([ONE], [0], 'out')
    assert ', now 9.9)' in capsys.readouterr().out
    Path('out/one/seed_0/provenance.json').unlink()
    tools.calls.clear()
    compare([ONE], [0], 'out')
    assert tools.called() == ['train.py one 0', 'test.py one 0']
    assert 'nothing says what it was made from' in capsys.readouterr().out


def test_another_list_of_frames_is_scored_without_training(tools, capsys):
    compare([ONE], [0], 'out', frame_list='hard.txt')
    tools.calls.clear()
    Path('hard.txt').write_text('a/1.jpg')
    compare([ONE], [0], 'out', frame_list='hard.txt')
    assert tools.called() == ['test.py one 0', 'eval.py one 0']
    assert 'scored again: hard.txt changed' in capsys.readouterr().out
    compare([ONE], [0], 'out')
    assert tools.called() == []


@pytest.mark.parametrize(
    ('jobs', 'given', 'threads', 'policy'),
    [(4, None, '2', 'PASSIVE'), (2, 'ACTIVE', '4', 'ACTIVE'), (1, None, None, None)],
)
def test_cores_are_divided_among_jobs(tools, monkeypatch, jobs, given, threads, policy):
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    monkeypatch.delenv('OMP_WAIT_POLICY', raising=False)
    if given:
        monkeypatch.setenv('OMP_WAIT_POLICY', given)
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


# --- what differs between two configs, against pairs written by hand -----------------------------


@pytest.mark.parametrize(
    ('old', 'new', 'lines'),
    [
        (dict(a=dict(b=1, c='x')), dict(a=dict(b=1, c='y')), ["a.c: 'x' -> 'y'"]),
        (dict(a=(1, 2)), dict(a=(1, 3)), ['a: (1, 2) -> (1, 3)']),
        (dict(a=1), dict(a=True), ['a: 1 -> True']),
        (dict(a=None), dict(a=dict(b=1)), ["a: None -> {'b': 1}"]),
        (dict(a=dict()), dict(a=dict(b=1)), ['a.b: absent -> 1']),
        (dict(a=dict(b=1, c=dict(d=2))), dict(), ['a.b: 1 -> absent', 'a.c.d: 2 -> absent']),
        (dict(p=[dict(t='A')]), dict(p=[dict(t='A'), dict(t='B')]), ["p.1.t: absent -> 'B'"]),
        (dict(p=[dict(t='A', s=1)]), dict(p=[dict(t='A', s=2)]), ['p.0.s: 1 -> 2']),
        (dict(b=1, a=2), dict(a=2, b=1), []),
        (dict(a=dict()), dict(), ['a: {} -> absent']),
    ],
)
def test_a_line_per_key_that_differs(old, new, lines):
    found = differences(Config(old), Config(new))
    assert [f'{key}: {a} -> {b}' for key, a, b in found] == lines


def test_a_default_work_dir_is_no_difference_and_a_chosen_one_is(tools):
    first, second = load_config(ONE), load_config(TWO)
    assert first.work_dir != second.work_dir and differences(first, second) == []
    chosen = load_config(TWO, work_dir='elsewhere')
    assert [key for key, _, _ in differences(first, chosen)] == ['work_dir']
