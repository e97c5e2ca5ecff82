"""A folder that shows what a detector gets right and wrong: curves, tables, frames, one page."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine import Config
from mmengine.logging import print_log

from mmdet.apis.score_results import scored_dataset, scoring_options
from mmdet.core.errors import ConfigError
from mmdet.engine.config_load import load_config
from mmdet.evaluation.evaluate import PROTOCOLS, ScoredSet, as_protocols
from mmdet.evaluation.report import tables
from mmdet.programs.analyse.analysis import analyze
from mmdet.programs.analyse.analysis_page import (
    BASELINE,
    OURS,
    draw_frames,
    write_page,
    write_plots,
)
from mmdet.programs.analyse.drawn_frames import DrawnFrames
from mmdet.programs.analyse.tables import write_tables
from mmdet.programs.analyse.worst import find_worst, first_frames

MOST_FRAMES = 999  # of a kind: their names have three digits


def analyze_results(
    config: str | os.PathLike | Config,
    results: str | os.PathLike,
    *,
    baseline: str | os.PathLike | None = None,
    out: str | os.PathLike = '',
    score_thr: float = 0.3,
    num: int = 20,
    frames: bool = True,
    eval_options: Mapping[str, Any] | None = None,
    cfg_options: Mapping[str, Any] | None = None,
) -> Path:
    """Analyze a results file of the config's test dataset.

    Args:
        results: `.pkl` or COCO `.json`, of all images of the annotation file.
        baseline: another results file to compare with.
        out: folder for everything; else `analysis` in the config's work dir.
        score_thr: of confusions, mistakes and drawings, in 0..1.
        num: at most so many frames of each kind.
        frames: draw frames; else the image files are not needed.
        eval_options, cfg_options: as of `mmdet.apis.score_results.evaluate_config`.

    Returns the page, `index.html` in the folder.

    Raises:
        ConfigError: a mistake in the config or the arguments.
        EvaluationError: results that do not fit, or frames that cannot be drawn; nothing is
            written then.
    """
    _check(score_thr, num)
    cfg = load_config(config, cfg_options)
    options = scoring_options(cfg, None, eval_options)
    metrics = {'vid', *as_protocols(options.pop('metrics', PROTOCOLS))}
    scored = ScoredSet.open(**options)
    pictures = None
    if frames:
        prefix = scored_dataset(cfg).get('img_prefix', '')
        pictures = DrawnFrames(scored, prefix, score_thr)
        pictures.check(first_frames(scored))
    files = {OURS: results} | ({BASELINE: baseline} if baseline else {})
    runs = {
        name: analyze(scored, scored.read(file), score_thr, metrics) for name, file in files.items()
    }
    for name, run in runs.items():
        print_log(f'{name}:\n{tables(run.scores)}', logger='current')
    worst = find_worst(runs[OURS], runs.get(BASELINE), scored, num)
    if pictures is not None:
        pictures.check(worst.images(runs[OURS]), decode=True)
    folder = Path(out or Path(cfg.work_dir) / 'analysis')
    write_tables(folder, runs, scored, runs[OURS])
    write_plots(folder, runs, score_thr)
    drawn = {} if pictures is None else draw_frames(folder, runs, pictures, worst)
    names = f'{results}' + (f', compared with the baseline {baseline}' if baseline else '')
    lead = f'{names}, on {scored.index.ann_file}. Motion: {scored.motion}.'
    return write_page(folder, runs, drawn, lead)


def _check(score_thr: float, num: int) -> None:
    if not 0 <= score_thr <= 1:
        raise ConfigError(f'--score-thr must be in 0 to 1, got {score_thr}')
    if not 1 <= num <= MOST_FRAMES:
        raise ConfigError(f'--num must be in 1 to {MOST_FRAMES}, got {num}')
