"""Plots: what is high, what is dark, what is left out; names in any script."""

import warnings

import cv2
import numpy as np
import pytest
from fontTools.ttLib import TTFont
from matplotlib.font_manager import fontManager

from mmdet.programs.analyse.plots import (
    plot_ap_by_class,
    plot_ap_by_motion,
    plot_confusion,
    plot_precision_recall,
)
from mmdet.visualization import fonts

METRICS = {'vid/AP50': 0.5, 'vid/AP50_fast': 0.25, 'vid/AP50_medium': None, 'coco/AP': 0.3}


def ink(path) -> np.ndarray:
    """Where the picture is neither white nor grey: lines and bars."""
    return np.ptp(cv2.imread(str(path)).astype(int), axis=2) > 40


def test_bars_have_heights_in_proportion(tmp_path):
    plot_ap_by_motion({'run': METRICS}, tmp_path / 'bars.png')
    columns = ink(tmp_path / 'bars.png').sum(axis=0)
    tall = columns.max()
    short = np.median(columns[(columns > 0) & (columns < 0.7 * tall)])
    assert short / tall == pytest.approx(0.25 / 0.5, abs=0.02)
    widths = np.diff(np.flatnonzero(np.diff(np.r_[0, columns > 20, 0])))[::2]
    assert len(widths) == 2  # medium (None) and slow (absent) have no bar


def test_classes_without_objects_are_left_out(tmp_path):
    per_class = {f'vid/AP50/c{i}': i / 30 for i in range(30)}
    plot_ap_by_class(METRICS | per_class | {'vid/AP50/none': None}, tmp_path / 'all.png')
    plot_ap_by_class(METRICS | {'vid/AP50/c': 0.5, 'vid/AP50/none': None}, tmp_path / 'one.png')
    assert cv2.imread(str(tmp_path / 'one.png')).shape[0] == pytest.approx(1.47 * 150, abs=2)
    assert ink(tmp_path / 'all.png').sum() > 5 * ink(tmp_path / 'one.png').sum() > 5000
    with pytest.raises(ValueError, match="No key starts with 'vid/AP50/'"):
        plot_ap_by_class(METRICS, tmp_path / 'none.png')
    assert not (tmp_path / 'none.png').exists()


@pytest.mark.parametrize('with_font', [False, True])
def test_names_in_any_script(with_font, tmp_path, monkeypatch):
    """matplotlib warns of every character that it lacks: none may be left to it."""
    font = TTFont(fonts.default_font().replace('DejaVuSans', 'STIXGeneral'))
    for record in font['name'].names:
        record.string = 'Other'  # a font that matplotlib does not know yet
    font.save(tmp_path / 'other.ttf')
    system = (str(tmp_path / 'other.ttf'),) if with_font else ()
    monkeypatch.setattr(fonts, '_system_fonts', lambda: system)
    monkeypatch.setattr(fontManager, 'ttflist', list(fontManager.ttflist))
    fonts.font_for.cache_clear()
    curve = np.linspace(0, 1, 1001)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        plot_ap_by_class({'vid/AP50/Ⓐ': 0.5, 'vid/AP50/$a$': 0.7}, tmp_path / 'c.png')
        plot_precision_recall(curve, {'車': 1 - curve}, {'mean': curve}, tmp_path / 'p.png', 'PR')
        plot_confusion(np.ones((2, 2), int), ['Ⓐ'], tmp_path / 'm.png', 'Confusion')
    assert ink(tmp_path / 'p.png').sum() > 1000
    assert [f.name for f in fontManager.ttflist if f.name == 'Other'] == ['Other'] * 2 * with_font
    fonts.font_for.cache_clear()
