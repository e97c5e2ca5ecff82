"""A page of captioned frames. Images are [H, W, 3] uint8 BGR."""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from mmdet.visualization.fonts import fit_text, put_text, text_mask

_PAPER = (255, 255, 255)
_INK = (40, 40, 40)
_CAPTION_SIZE, _TITLE_SIZE = 15, 26
_GAP = 16  # pixels between tiles and around the page


def contact_sheet(
    images: Sequence[np.ndarray | None],
    captions: Sequence[str] = (),
    title: str = '',
    columns: int | None = None,
    tile_width: int = 480,
    row_titles: Sequence[str] = (),
) -> np.ndarray:
    """Lay frames out on a white page, row by row.

    Args:
        images: of any size; scaled to fit, proportions kept. None leaves its place empty.
        captions, row_titles: one per image, under it; one per row, over it; shortened to fit.
        columns: by default as square a page as the number of images allows.
        tile_width: pixels; the height is that of the tallest image, at most the width.
    """
    if not len(images) or len(captions) not in (0, len(images)):
        given = f'{len(images)} images and {len(captions)} captions'
        raise ValueError(f'A page needs images, and as many captions or none, got {given}.')
    columns = min(columns or math.ceil(math.sqrt(len(images))), len(images))
    tallest = max(image.shape[0] / image.shape[1] for image in images if image is not None)
    tile = (tile_width, round(tile_width * min(tallest, 1.0)))
    rows = -(-len(images) // columns)
    line = text_mask('', _CAPTION_SIZE).shape[0]
    row_top = line + 4 if row_titles else 0
    top = _GAP + (text_mask('', _TITLE_SIZE).shape[0] + _GAP // 2 if title else 0)
    step_x = tile[0] + _GAP
    step_y = row_top + tile[1] + _GAP + (line if captions else 0)
    page = np.full((top + rows * step_y, _GAP + columns * step_x, 3), _PAPER, np.uint8)
    width = page.shape[1] - 2 * _GAP
    put_text(page, fit_text(title, _TITLE_SIZE, width, True), _GAP, _GAP, _TITLE_SIZE, _INK, True)
    for row, text in enumerate(row_titles):
        text = fit_text(text, _CAPTION_SIZE, width, True)
        put_text(page, text, _GAP, top + row * step_y, _CAPTION_SIZE, _INK, True)
    for i, image in enumerate(images):
        if image is None:
            continue
        x, y = _GAP + i % columns * step_x, top + i // columns * step_y + row_top
        place = page[y : y + tile[1], x : x + tile[0]]
        bottom = _paste(place, image)
        if captions:
            text = fit_text(captions[i], _CAPTION_SIZE, tile[0])
            put_text(page, text, x, y + bottom + 2, _CAPTION_SIZE, _INK)
    return page


def _paste(place: np.ndarray, image: np.ndarray) -> int:
    """Scale `image` into the top of `place`, in place; returns the row below it."""
    factor = min(place.shape[0] / image.shape[0], place.shape[1] / image.shape[1])
    size = [max(1, round(side * factor)) for side in (image.shape[1], image.shape[0])]
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    left = (place.shape[1] - size[0]) // 2
    place[: size[1], left : left + size[0]] = cv2.resize(image, size, interpolation=method)
    return size[1]
