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
AP = {'one 0': 0.61, 'one 7': 0.72}
CONFIG = 'train_cfg = dict(max_epochs=2)\n'
DATA = "test_dataloader = dict(dataset=dict(ann_file='data.json'))\n"


class FakeTools:
    """Stands in for the processes: writes what the commands write, remembers what was called."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, dict[str, str]]] = []
        self.fail_at: str | None = None

    def __call__(self, command, stdout, stderr, env):
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


def test_every_config_starts_from_the_base_of_its_seed_and_a_table_sums_up(tools):
    table = compare([ONE, TWO], [0, 7], 'out', start_from=BASE, frame_list='hard.txt').read_text()
    trainings = [(run, flags) for tool, run, flags in tools.calls if tool == 'train.py']
    order = ['base_model 0', 'base_model 7', 'one 0', 'two 0', 'one 7', 'two 7']
    assert [run for run, _ in trainings] == order
    assert all('--cfg-options' not in flags for _, flags in trainings[:2])
    for run, flags in trainings[2:]:
        start = f'load_from=out/base_model/seed_{run[-1]}/epoch_2.pth'
        assert flags['--cfg-options'] == start
    spread = f'± {statistics.stdev([0.61, 0.72]):.3f}'
    ap = f'0.665 {spread}'
    assert f'| `one.py` | 2 | {ap} | - | {ap} | {ap} | 0.465 {spread} |' in table.splitlines()
    runs = Path('out/runs.csv').read_text().splitlines()
    assert runs[0] == 'config,seed,AP50,fast,medium,slow,hard' and len(runs) == 7
    assert 'one,7,0.72,,0.72,0.72,0.52' in runs


def test_finished_runs_are_kept_and_begun_ones_go_on(tools):
    compare([ONE], [0], 'out')
    tools.fail_at = 'train.py'
    with pytest.raises(RunError, match=r'two, seed 0: train\.py ended with status 3.*train\.log'):
        compare([TWO], [0], 'out')
    Path('out/two/seed_0/epoch_1.pth').write_text('')
    tools.fail_at = None
    tools.calls.clear()
    compare([ONE, TWO], [0], 'out')
    assert tools.calls[0][2]['--resume'] == 'auto'
    assert tools.called() == ['train.py two 0', 'test.py two 0']


@pytest.mark.parametrize(
    ('path', 'text', 'why'),
    [
        (ONE, CONFIG + DATA + 'x = 3', 'the config changed (x: absent, now 3)'),
        ('data.json', '{"images": []}', 'the annotations changed (data.json)'),
        ('checkout/mmdet/a.py', 'x = 2', 'the code changed (mmdet/a.py)'),
        (BASE, CONFIG + 'x = 3', 'the run that it starts from changed'),
    ],
)
def test_a_run_made_from_something_else_is_done_again(
    tools, tmp_path, monkeypatch, capsys, path, text, why
):
    (tmp_path / 'checkout/mmdet').mkdir(parents=True)
    Path('checkout/mmdet/a.py').write_text('x = 1')
    monkeypatch.setattr('mmdet.programs.compare.provenance.ROOT', tmp_path / 'checkout')
    Path(ONE).write_text(CONFIG + DATA)
    Path('data.json').write_text('{}')
    compare([ONE], [0], 'out', start_from=BASE)
    tools.calls.clear()
    compare([ONE], [0], 'out', start_from=BASE)
    assert tools.called() == [] and 'done again' not in capsys.readouterr().out
    Path(path).write_text(text)
    Path('out/one/seed_0/mark').write_text('')
    compare([ONE], [0], 'out', start_from=BASE)
    again = ['base_model 0', 'one 0'] if path in (BASE, 'checkout/mmdet/a.py') else ['one 0']
    assert tools.called() == [f'{tool} {run}' for run in again for tool in ('train.py', 'test.py')]
    assert why in capsys.readouterr().out
    assert Path('out/one/seed_0.stale/mark').exists() and not Path('out/one/seed_0/mark').exists()


def test_mistakes_are_told_before_anything_runs(tools):
    with pytest.raises(ConfigError, match='different file names'):
        compare([ONE, f'./{ONE}'], [0], 'out')
    with pytest.raises(FileNotFoundError, match='absent'):
        compare(['absent.py'], [0], 'out')
    for flags in (['--jobs', '0'], ['--seeds', '1', '1']):
        with pytest.raises(SystemExit):
            parse_args(['x.py', *flags])
    assert not Path('out').exists()
