"""Names in any script: drawn where a font has their characters, else by their number."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from mmdet.programs.analyse.analysis_plots import plot_confusion
from mmdet.structures import Detections
from mmdet.visualization import draw_detections, draw_ground_truth, fonts
from mmdet.visualization.fonts import default_font, font_for, readable, readable_names
from mmdet.visualization.plots import plot_ap_by_class, plot_precision_recall
from mmdet.visualization.text import text_mask


def square_font(path: Path, chars: str) -> Path:
    """A font in which every character is a filled square of 800 of 1000 units."""
    names = ['.notdef', *(f'uni{ord(char):04X}' for char in chars)]
    pen = TTGlyphPen(None)
    pen.moveTo((100, 0))
    for point in ((100, 800), (900, 800), (900, 0)):
        pen.lineTo(point)
    pen.closePath()
    square, empty = pen.glyph(), TTGlyphPen(None).glyph()
    builder = FontBuilder(1000)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(char): f'uni{ord(char):04X}' for char in chars})
    builder.setupGlyf({name: square if name != '.notdef' else empty for name in names})
    builder.setupHorizontalMetrics({name: (1000, 0) for name in names})
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({'familyName': 'Square', 'styleName': 'Regular'})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return path


@pytest.fixture
def system_fonts(monkeypatch):
    """What fonts the system has: none but those that a test gives."""

    def give(*paths: Path) -> None:
        monkeypatch.setattr(fonts, '_system_fonts', lambda: tuple(map(str, paths)))

    def forget() -> None:
        for cached in (fonts.font_for, fonts._system_font, fonts._readable_names, text_mask):
            cached.cache_clear()
        fonts._told.clear()

    forget()
    give()
    yield give
    monkeypatch.undo()
    forget()


def test_what_dejavu_has_needs_no_other_font(system_fonts):
    for text in ('car', 'ü ß é', 'машина', 'a\u0301\u200d', ''):
        assert font_for(text) == default_font()
        assert readable(text, 'class 0') == text


def test_a_name_without_a_font_is_its_number_and_one_warning(system_fonts, monkeypatch):
    told = []
    monkeypatch.setattr(fonts, 'print_log', lambda text, **_: told.append(text))
    assert readable_names(['car', '車', '火']) == ('car', 'class 1', 'class 2')
    assert readable_names(['火', 'car']) == ('class 0', 'car')
    assert len(told) == 1 and "all characters of '車'" in told[0] and 'fonts-noto-cjk' in told[0]


def test_other_text_keeps_what_can_be_drawn(system_fonts):
    assert readable('cam 車/000001') == 'cam ?/000001'


def test_a_font_of_the_system_is_used(system_fonts, tmp_path):
    broken = tmp_path / 'noto-broken.ttf'
    broken.write_bytes(b'no font')
    system_fonts(
        broken, square_font(tmp_path / 'a.ttf', 'x'), square_font(tmp_path / 'b.ttf', '車 #1')
    )
    assert font_for('車 #1') == str(tmp_path / 'b.ttf')
    assert readable_names(['車', '火']) == ('車', 'class 1')
    mask = text_mask('車', 100)
    assert mask.shape == (text_mask('x', 100).shape[0], 100)  # lines sit level with other text
    rows, columns = np.nonzero(mask > 128)
    assert abs(np.ptp(rows) + 1 - 80) <= 1 and abs(np.ptp(columns) + 1 - 80) <= 1


def test_drawings_and_plots_do_without_a_font(system_fonts, tmp_path):
    found = Detections(torch.tensor([[20.0, 40, 90, 90]]), torch.tensor([0.9]), torch.tensor([0]))
    image = np.full((120, 160, 3), 90, np.uint8)
    unknown = draw_detections(image, found, ['車'])
    assert np.array_equal(unknown, draw_detections(image, found, ['class 0']))
    boxes, labels = found.boxes.numpy(), found.labels.numpy()
    truth = draw_ground_truth(image, boxes, labels, ['車'])
    assert np.array_equal(truth, draw_ground_truth(image, boxes, labels, ['class 0']))
    curve = np.linspace(0, 1, 5)
    with warnings.catch_warnings():
        warnings.simplefilter('error')  # matplotlib warns of every character that it lacks
        plot_ap_by_class({'vid/AP50/車': 0.5, 'vid/AP50/$a$': 0.7}, tmp_path / 'c.png')
        plot_precision_recall({'車': (curve, curve)}, tmp_path / 'p.png')
        plot_confusion(np.ones((2, 2), int), ['車'], tmp_path / 'm.png', 'Confusion')


def test_plots_use_a_font_of_the_system(system_fonts, tmp_path):
    from matplotlib import font_manager

    system_fonts(square_font(tmp_path / 'square.ttf', '車'))
    before = list(font_manager.fontManager.ttflist)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            plot_ap_by_class({'vid/AP50/車': 0.5}, tmp_path / 'c.png')
        assert fonts.families_for(['car', '車']) == ['DejaVu Sans', 'Square']
    finally:
        font_manager.fontManager.ttflist = before
