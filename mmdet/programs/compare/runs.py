"""Several configs, several seeds, the same budget: mean and spread of the AP in one table.

One training says little: runs that differ in nothing but the seed spread by a point or more. Every
run here is `tools/train.py`, `tools/test.py` and `tools/eval.py` in a process of its own, with its
files in OUT/CONFIG/seed_N; what is finished is kept, what was interrupted goes on. A run that was
made from another config, code, PyTorch or annotations is set aside as seed_N.stale and done again.
"""

import csv
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from mmengine import Config

from mmdet.core.errors import ConfigError, VFEError
from mmdet.core.fileio import atomic_write
from mmdet.core.text import read_json
from mmdet.programs.compare import provenance

TOOLS = Path(__file__).resolve().parents[3] / 'tools'
COLUMNS = {
    'AP50': 'vid/AP50',
    'fast': 'vid/AP50_fast',
    'medium': 'vid/AP50_medium',
    'slow': 'vid/AP50_slow',
}


class RunError(VFEError):
    """A training or a test of a comparison failed; names its log."""


@dataclass
class Run:
    """One config with one seed. `start`: a run whose weights this one starts from."""

    config: Path
    seed: int
    out: Path
    start: 'Run | None' = None

    @property
    def name(self) -> str:
        return f'{self.config.stem}, seed {self.seed}'

    @property
    def folder(self) -> Path:
        return self.out / self.config.stem / f'seed_{self.seed}'

    @property
    def checkpoint(self) -> Path:
        cfg = Config.fromfile(self.config, import_custom_modules=False)
        return self.folder / f'epoch_{cfg.train_cfg.max_epochs}.pth'

    @property
    def metrics(self) -> Path:
        return self.folder / 'metrics.json'

    def metrics_of(self, frame_list: Path) -> Path:
        return self.folder / f'metrics.{frame_list.stem}.json'


def compare(
    configs: Sequence[str],
    seeds: Sequence[int],
    out: str,
    start_from: str | None = None,
    frame_list: str | None = None,
    jobs: int = 1,
) -> Path:
    """Train and test every config with every seed; returns the path of the table, OUT/table.md.

    Args:
        configs: paths; their file names must differ.
        seeds: of training.
        out: folder of the runs and the tables.
        start_from: config of a single-frame model. It is trained first, once per seed, and its
            weights start all others.
        frame_list: a file of frame names; the AP on these frames alone becomes another column.
        jobs: runs at a time; the cores are divided among them.

    Raises:
        ConfigError: the same file name twice.
        FileNotFoundError: a config or the list is absent.
        RunError: a run failed; the others are kept.
    """
    paths = [Path(config) for config in configs]
    for path in [*paths, *(Path(p) for p in (start_from, frame_list) if p)]:
        if not path.is_file():
            raise FileNotFoundError(f'{path} is not a file.')
    names = [path.stem for path in paths] + ([Path(start_from).stem] if start_from else [])
    if len(set(names)) < len(names):
        raise ConfigError(f'The configs need different file names, got {", ".join(names)}.')
    starts = {s: Run(Path(start_from), s, Path(out)) if start_from else None for s in seeds}
    runs = [Run(path, s, Path(out), starts[s]) for s in seeds for path in paths]
    frames = Path(frame_list) if frame_list else None
    queue = Queue(frames, jobs)
    if start_from:
        queue.work([start for start in starts.values() if start])
    queue.work(runs)
    return write_tables([*filter(None, starts.values()), *runs], frames, Path(out))


class Queue:
    """Works through runs, `jobs` at a time, and says how long the rest will take."""

    def __init__(self, frame_list: Path | None, jobs: int) -> None:
        self.frame_list = frame_list
        self.jobs = jobs
        self.inspector = provenance.Inspector()
        self.environment = dict(os.environ, PYTHONUNBUFFERED='1')
        if jobs > 1:  # a thread that waits gives its core to the other runs
            self.environment.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
            threads = max(1, (os.cpu_count() or 1) // jobs)
            self.environment['OMP_NUM_THREADS'] = str(threads)

    def work(self, runs: Sequence[Run]) -> None:
        started = time.monotonic()
        for run in runs:
            self.set_aside_if_stale(run)
        todo = [run for run in runs if not self.is_done(run)]
        print(f'{len(runs) - len(todo)} of {len(runs)} runs are finished already.', flush=True)
        with ThreadPoolExecutor(self.jobs) as pool:
            for done, run in enumerate(pool.map(self.finish, todo), start=1):
                seconds = time.monotonic() - started
                left = timedelta(seconds=int(seconds / done * (len(todo) - done)))
                value = read_json(run.metrics, ConfigError)['vid/AP50']
                print(f'{run.name}: AP50 {value:.3f} ({done}/{len(todo)}, eta {left})', flush=True)

    def is_done(self, run: Run) -> bool:
        wanted = [run.metrics] + ([run.metrics_of(self.frame_list)] if self.frame_list else [])
        return run.checkpoint.exists() and all(path.exists() for path in wanted)

    def made_from(self, run: Run) -> provenance.Provenance:
        start = self.made_from(run.start) if run.start else None
        return self.inspector.provenance(run.config, start)

    def set_aside_if_stale(self, run: Run) -> None:
        """Keep what was made from the same, and rename the folder of anything else."""
        now = self.made_from(run)
        before = provenance.read(run.folder)
        changed = provenance.changes(before, now) if run.folder.is_dir() else []
        if changed:
            stale = run.folder.with_name(f'{run.folder.name}.stale')
            shutil.rmtree(stale, ignore_errors=True)
            run.folder.rename(stale)
            why = '; '.join(changed)
            print(f'{run.name}: done again: {why}. The old one is {stale}.', flush=True)
        lists = {} if changed or before is None else before['frame_lists']
        if self.frame_list is not None:
            digest = self.inspector.digest(self.frame_list)
            if lists.get(self.frame_list.stem, digest) != digest:
                print(f'{run.name}: scored again: {self.frame_list} changed.', flush=True)
                run.metrics_of(self.frame_list).unlink(missing_ok=True)
            lists = {**lists, self.frame_list.stem: digest}
        provenance.write(run.folder, {**now, 'frame_lists': lists})

    def finish(self, run: Run) -> Run:
        """Whatever of training, test and scoring of the listed frames is missing."""
        config, results = str(run.config), str(run.folder / 'results.pkl')
        work_dir = ('--work-dir', str(run.folder))
        if not run.checkpoint.exists():
            train = [config, *work_dir, '--seed', str(run.seed), '--no-validate']
            # a begun run goes on from its own checkpoint, a new one may start from another model
            if any(run.folder.glob('epoch_*.pth')):
                train += ['--resume', 'auto']
            elif run.start is not None:
                train += ['--cfg-options', f'load_from={run.start.checkpoint}']
            self.call('train.py', train, run)
        test = [config, '--checkpoint', str(run.checkpoint), '--eval', 'vid', '--out', results]
        self.call('test.py', [*test, *work_dir], run)
        if self.frame_list is not None:
            options = ('--eval-options', f'frame_list={self.frame_list}')
            self.call('eval.py', [config, results, '--eval', 'vid', *work_dir, *options], run)
        return run

    def call(self, tool: str, arguments: list[str], run: Run) -> None:
        log = run.folder / f'{Path(tool).stem}.log'
        log.parent.mkdir(parents=True, exist_ok=True)
        print(f'{run.name}: {tool} (log: {log})', flush=True)
        command = [sys.executable, str(TOOLS / tool), *arguments]
        with open(log, 'w') as file:
            code = subprocess.run(
                command, stdout=file, stderr=subprocess.STDOUT, env=self.environment
            ).returncode
        if code:
            raise RunError(
                f'{run.name}: {tool} ended with status {code}; the last lines of {log} say why. '
                f'The same command goes on from here.'
            )


def write_tables(runs: Sequence[Run], frame_list: Path | None, out: Path) -> Path:
    """OUT/runs.csv, a row per run, and OUT/table.md, mean and spread per config; prints the table.

    The spread is the standard deviation over the seeds (n - 1).
    """
    columns = [*COLUMNS] + ([frame_list.stem] if frame_list else [])
    rows = [(run, values_of(run, frame_list)) for run in runs]
    with atomic_write(out / 'runs.csv') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(['config', 'seed', *columns])
        writer.writerows([run.config.stem, run.seed, *values] for run, values in rows)
    lines = ['| config | runs | ' + ' | '.join(columns) + ' |', '|---' * (len(columns) + 2) + '|']
    for config in dict.fromkeys(run.config.stem for run in runs):
        of_config = [values for run, values in rows if run.config.stem == config]
        cells = [mean_and_spread(column) for column in zip(*of_config, strict=True)]
        lines.append(f'| `{config}.py` | {len(of_config)} | ' + ' | '.join(cells) + ' |')
    table = '\n'.join(lines) + '\n'
    with atomic_write(out / 'table.md') as file:
        file.write(table)
    print(f'\n{table}\nWritten: {out}/table.md, {out}/runs.csv')
    return out / 'table.md'


def values_of(run: Run, frame_list: Path | None) -> list[float | None]:
    metrics = read_json(run.metrics, ConfigError)
    values = [metrics[key] for key in COLUMNS.values()]
    if frame_list is not None:
        values.append(read_json(run.metrics_of(frame_list), ConfigError)['vid/AP50'])
    return values


def mean_and_spread(values: Sequence[float | None]) -> str:
    """'0.731 ± 0.012'; a single run has no spread; '-' where nothing was there to score."""
    known = [value for value in values if value is not None]
    if not known:
        return '-'
    mean = f'{statistics.mean(known):.3f}'
    return mean if len(known) < 2 else f'{mean} ± {statistics.stdev(known):.3f}'
