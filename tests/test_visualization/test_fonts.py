"""Names in any script: drawn where a font has their characters, else by their number."""

import numpy as np
import pytest
import torch
from PIL import ImageFont

from mmdet.structures import Detections
from mmdet.visualization import draw_detections, draw_ground_truth, fonts
from mmdet.visualization.fonts import (
    default_font,
    fit_text,
    font_for,
    put_text,
    readable,
    readable_names,
    text_mask,
)

STIX = default_font().replace('DejaVuSans', 'STIXGeneral')  # has Ⓐ, as DejaVu Sans has not


@pytest.fixture
def system_fonts(monkeypatch):
    """What fonts the system has: none but those that a test gives."""

    def give(*paths: str) -> None:
        monkeypatch.setattr(fonts, '_system_fonts', lambda: paths)

    def forget() -> None:
        fonts.font_for.cache_clear()
        text_mask.cache_clear()
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
    assert readable('cam 車/000001') == 'cam ?/000001'  # other text keeps what can be drawn
    assert len(told) == 1 and "all characters of '車'" in told[0] and 'fonts-noto-cjk' in told[0]
    found = Detections(torch.tensor([[20.0, 40, 90, 90]]), torch.tensor([0.9]), torch.tensor([0]))
    image = np.full((120, 160, 3), 90, np.uint8)
    unknown = draw_detections(image, found, ['車'])
    assert np.array_equal(unknown, draw_detections(image, found, ['class 0']))
    boxes, labels = found.boxes.numpy(), found.labels.numpy()
    truth = draw_ground_truth(image, boxes, labels, ['車'])
    assert np.array_equal(truth, draw_ground_truth(image, boxes, labels, ['class 0']))


def test_a_font_of_the_system_is_used(system_fonts, tmp_path):
    broken = tmp_path / 'noto-broken.ttf'
    broken.write_bytes(b'no font')
    system_fonts(str(broken), STIX)
    assert font_for('Ⓐ #1') == STIX
    assert readable_names(['Ⓐ', '車']) == ('Ⓐ', 'class 1')
    mask = text_mask('Ⓐ', 100)
    assert mask.shape[0] == text_mask('x', 100).shape[0]  # lines sit level with other text
    rows, columns = np.nonzero(mask)
    left, top, right, bottom = ImageFont.truetype(STIX, 100).getmask('Ⓐ').getbbox()
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (bottom - top, right - left)


def test_text_is_cut_at_the_border_and_shortened_to_a_width():
    image = np.zeros((20, 40, 3), np.uint8)
    for left, top in ((-5, -3), (35, 15), (100, 100), (-500, 0)):
        put_text(image, 'gx', left, top, 12, (255, 255, 255))
    assert image.any()
    long = 'a_very_long_class_name 0.99'
    assert fit_text(long, 12, 1000) == long
    short = fit_text(long, 12, 60)
    assert short.endswith('…') and text_mask(short, 12).shape[1] <= 60
    assert fit_text(long, 12, 2) == ''
