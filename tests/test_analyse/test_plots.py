"""Plots of names in any script."""

import warnings

import numpy as np
import pytest
from fontTools.ttLib import TTFont
from matplotlib.font_manager import fontManager

from mmdet.programs.analyse.plots import (
    plot_ap_by_class,
    plot_confusion,
    plot_precision_recall,
)
from mmdet.visualization import fonts


def test_names_in_any_script(tmp_path, monkeypatch):
    """matplotlib warns of every character that it lacks: none may be left to it."""
    font = TTFont(fonts.default_font().replace('DejaVuSans', 'STIXGeneral'))
    for record in font['name'].names:
        record.string = 'Other'  # a font that matplotlib does not know yet
    font.save(tmp_path / 'other.ttf')
    monkeypatch.setattr(fonts, '_system_fonts', lambda: (str(tmp_path / 'other.ttf'),))
    monkeypatch.setattr(fontManager, 'ttflist', list(fontManager.ttflist))
    fonts.font_for.cache_clear()
    curve = np.linspace(0, 1, 1001)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        plot_ap_by_class({'vid/AP50/Ⓐ': 0.5, 'vid/AP50/$a$': 0.7}, tmp_path / 'c.png')
        plot_precision_recall(curve, {'車': 1 - curve}, {'mean': curve}, tmp_path / 'p.png', 'PR')
        plot_confusion(np.ones((2, 2), int), ['Ⓐ'], tmp_path / 'm.png', 'Confusion')
    assert (tmp_path / 'm.png').is_file()
    with pytest.raises(ValueError, match="No key starts with 'vid/AP50/'"):
        plot_ap_by_class({'vid/AP50': 0.5}, tmp_path / 'none.png')
    fonts.font_for.cache_clear()
