"""Pages of frames: every image in its proportions, captions and titles where they belong."""

import numpy as np
import pytest

from mmdet.visualization.contact_sheet import contact_sheet


def test_every_image_and_caption():
    colors = [(0, 0, 200), (0, 200, 0), (200, 0, 0), (0, 200, 200), (200, 0, 200)]
    shapes = [(50, 100), (720, 1280), (300, 100), (48, 64), (1, 1)]
    images = [np.full((*s, 3), c, np.uint8) for s, c in zip(shapes, colors, strict=True)]
    page = contact_sheet(images, [f'frame {i}' for i in range(5)], title='A page', columns=3)
    plain = contact_sheet(images, columns=3)
    for color, (height, width) in zip(colors, shapes, strict=True):
        rows, columns = np.nonzero((page == color).all(axis=2))
        shown = (np.ptp(rows) + 1, np.ptp(columns) + 1)
        assert shown[0] / shown[1] == pytest.approx(height / width, rel=0.02)
        assert max(shown) == 480
    assert page.shape[0] > plain.shape[0] and page.shape[1] == plain.shape[1] == 16 + 3 * 496


def test_titled_rows_and_an_empty_place():
    image = np.full((10, 20, 3), (0, 0, 200), np.uint8)
    page = contact_sheet([image, None, image, image], columns=2, row_titles=['first', 'second'])
    red = (page == (0, 0, 200)).all(axis=2)
    left, right = (np.flatnonzero(half.any(axis=1)) for half in (red[:, :500], red[:, 500:]))
    assert len(left) == 480 and len(right) == 240  # tiles are 480 wide and 240 high
    titles = np.flatnonzero((page.max(axis=2) < 100).any(axis=1))
    assert titles.min() < left.min()
    assert left.min() + 240 <= titles.max() < right.min()


def test_mistakes_name_what_was_given():
    image = np.zeros((10, 10, 3), np.uint8)
    for images, captions in (([], ()), ([image, image], ['one'])):
        with pytest.raises(ValueError, match=f'{len(images)} images and {len(captions)} captions'):
            contact_sheet(images, captions)
