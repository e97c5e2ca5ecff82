"""Antialiased text in any script: in DejaVu Sans, which comes with matplotlib, else in a font of
the system that has its characters. PIL alone draws an empty box for what a font lacks.
"""

import logging
import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from mmengine.logging import print_log
from PIL import Image, ImageDraw, ImageFont

from mmdet.visualization.palette import Color

# parts of the names of fonts with many characters; these are looked into first
_LIKELY = ('cjk', 'unifont', 'unicode', 'han', 'wqy', 'droid', 'gothic', 'ming', 'noto', 'free')
_UNKNOWN = '?'  # for characters that no font has
_told: set[str] = set()


def default_font(bold: bool = False) -> str:
    """The file of DejaVu Sans, found without the cost of importing matplotlib."""
    package = Path(find_spec('matplotlib').submodule_search_locations[0])
    name = 'DejaVuSans-Bold.ttf' if bold else 'DejaVuSans.ttf'
    return str(package / 'mpl-data' / 'fonts' / 'ttf' / name)


@lru_cache(maxsize=4096)
def font_for(text: str, bold: bool = False) -> str | None:
    """The file of a font that has all characters of a text; None if no font has."""
    default = default_font(bold)
    needed = frozenset(ord(char) for char in text if _is_drawn(char))
    if text.isascii() or needed <= _characters(default):
        return default
    return next((path for path in _system_fonts() if needed <= _characters(path)), None)


def readable(text: str, stand_in: str | None = None) -> str:
    """The text if a font has its characters, else the stand-in (None: question marks in place of
    what DejaVu Sans lacks), with a warning once."""
    if font_for(text) is not None:
        return text
    if not _told:
        print_log(
            f'No font of this system has all characters of {text!r}: what cannot be drawn is '
            f'replaced, class names by their number. A font with them helps (on Debian and Ubuntu: '
            f'apt install fonts-noto-cjk).',
            logger='current',
            level=logging.WARNING,
        )
        _told.add(text)
    if stand_in is not None:
        return stand_in
    known = _characters(default_font())
    return ''.join(c if ord(c) in known or not _is_drawn(c) else _UNKNOWN for c in text)


def readable_names(names: Sequence[str]) -> tuple[str, ...]:
    """Class names by label, as they can be drawn: `class 3` for one that no font has."""
    return tuple(readable(name, f'class {label}') for label, name in enumerate(names))


def _is_drawn(char: str) -> bool:
    """Not a blank, a control, or a mark that joins or varies others."""
    return not char.isspace() and unicodedata.category(char) not in ('Cc', 'Cf', 'Mn')


@cache
def _characters(path: str) -> frozenset[int]:
    """The code points that a font file draws at any size; none if it cannot be read."""
    from matplotlib.ft2font import FT2Font

    try:
        ImageFont.truetype(path, 17)  # fonts of pictures have some sizes only
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError, UnicodeError):
        return frozenset()


@lru_cache(maxsize=1)
def _system_fonts() -> tuple[str, ...]:
    """Font files of the system, those that likely have many characters first."""
    from matplotlib import font_manager

    def rank(path: str) -> tuple[int, str]:
        name = Path(path).name.lower()
        place = (i for i, part in enumerate(_LIKELY) if part in name)
        return next(place, len(_LIKELY)), path

    return tuple(sorted(font_manager.findSystemFonts(), key=rank))


@lru_cache(maxsize=32)
def _font(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


@lru_cache(maxsize=4096)
def text_mask(text: str, size: int, bold: bool = False) -> np.ndarray:
    """How much of each pixel a line of text covers: [h, w] uint8 0..255. `h` depends only on the
    size (pixels per em), so that lines of text sit level."""
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
