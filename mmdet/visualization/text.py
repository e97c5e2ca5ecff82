"""Antialiased text of any size, in a font that has its characters (see `fonts`)."""

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mmdet.visualization.fonts import default_font, font_for, readable
from mmdet.visualization.palette import Color


@lru_cache(maxsize=32)
def _font(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


@lru_cache(maxsize=4096)
def text_mask(text: str, size: int, bold: bool = False) -> np.ndarray:
    """How much of each pixel the text covers.

    Args:
        text: one line.
        size: pixels per em.

    Returns:
        [h, w] uint8 0..255; `h` depends on the size only, so that lines of text sit level.
    """
    ascent, descent = _font(default_font(bold), size).getmetrics()
    text = readable(text)
    font = _font(font_for(text, bold) or default_font(bold), size)
    width = max(1, int(np.ceil(font.getlength(text))))
    mask = Image.new('L', (width, ascent + descent))
    ImageDraw.Draw(mask).text((0, ascent), text, font=font, fill=255, anchor='ls')
    pixels = np.asarray(mask)
    pixels.flags.writeable = False  # shared by all callers
    return pixels


def fit_text(text: str, size: int, width: int, bold: bool = False) -> str:
    """`text`, shortened with an ellipsis until it is at most `width` pixels wide."""
    if text_mask(text, size, bold).shape[1] <= width:
        return text
    for end in range(len(text) - 1, 0, -1):
        shorter = text[:end].rstrip() + '…'
        if text_mask(shorter, size, bold).shape[1] <= width:
            return shorter
    return ''


def put_text(
    image: np.ndarray, text: str, left: int, top: int, size: int, color: Color, bold: bool = False
) -> None:
    """Write one line into `image` [H, W, 3] uint8 BGR, in place; what lies outside is cut off."""
    mask = text_mask(text, size, bold)
    y0, x0 = max(top, 0), max(left, 0)
    y1, x1 = min(top + mask.shape[0], image.shape[0]), min(left + mask.shape[1], image.shape[1])
    if y0 >= y1 or x0 >= x1:
        return
    alpha = mask[y0 - top : y1 - top, x0 - left : x1 - left, None].astype(np.float32) / 255
    region = image[y0:y1, x0:x1]
    region[:] = np.rint(region * (1 - alpha) + np.float32(color) * alpha).astype(np.uint8)
