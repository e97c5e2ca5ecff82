"""Fonts for any text: DejaVu Sans, which every installation has, else one of the system."""

import logging
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from mmengine.logging import print_log
from PIL import ImageFont

# parts of the names of fonts with many characters; these are looked into first
_LIKELY = ('cjk', 'unifont', 'unicode', 'han', 'wqy', 'droid', 'gothic', 'ming', 'noto', 'free')
UNKNOWN = '?'  # for characters that no font has
_told: set[str] = set()


def default_font(bold: bool = False) -> str:
    """The file of DejaVu Sans, found without the cost of importing matplotlib."""
    package = Path(find_spec('matplotlib').submodule_search_locations[0])
    name = 'DejaVuSans-Bold.ttf' if bold else 'DejaVuSans.ttf'
    return str(package / 'mpl-data' / 'fonts' / 'ttf' / name)


@lru_cache(maxsize=4096)
def font_for(text: str, bold: bool = False) -> str | None:
    """The file of a font that has all characters of a text; None if no font has."""
    if text.isascii():
        return default_font(bold)
    needed = frozenset(ord(char) for char in text if _is_drawn(char))
    if needed <= _characters(default_font(bold)):
        return default_font(bold)
    return _system_font(needed)


def readable(text: str, stand_in: str | None = None) -> str:
    """The text if a font has its characters, else the stand-in, with a warning once.

    Without a stand-in, the characters that DejaVu Sans lacks become question marks.
    """
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
    return ''.join(c if ord(c) in known or not _is_drawn(c) else UNKNOWN for c in text)


@lru_cache(maxsize=64)
def _readable_names(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(readable(name, f'class {label}') for label, name in enumerate(names))


def readable_names(names: Sequence[str]) -> tuple[str, ...]:
    """Class names by label, as they can be drawn: `class 3` for one that no font has."""
    return _readable_names(tuple(names))


def families_for(texts: Sequence[str]) -> list[str]:
    """matplotlib's names of the fonts that the texts need, the first one first."""
    from matplotlib import font_manager

    families = ['DejaVu Sans']
    for path in dict.fromkeys(map(font_for, texts)):
        if path is not None and path != default_font():
            font_manager.fontManager.addfont(path)
            families.append(font_manager.FontProperties(fname=path).get_name())
    return families


def _is_drawn(char: str) -> bool:
    """Not a blank, a control, or a mark that joins or varies others."""
    return not char.isspace() and unicodedata.category(char) not in ('Cc', 'Cf', 'Mn')


@lru_cache(maxsize=256)
def _characters(path: str) -> frozenset[int]:
    """The code points that a font file draws at any size; none if it cannot be read."""
    from matplotlib.ft2font import FT2Font

    try:
        ImageFont.truetype(path, 17)  # fonts of pictures have some sizes only
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError, UnicodeError):
        return frozenset()


@lru_cache(maxsize=256)
def _system_font(needed: frozenset[int]) -> str | None:
    return next((path for path in _system_fonts() if needed <= _characters(path)), None)


@lru_cache(maxsize=1)
def _system_fonts() -> tuple[str, ...]:
    """Font files of the system, those that likely have many characters first."""
    from matplotlib import font_manager

    def rank(path: str) -> tuple[int, str]:
        name = Path(path).name.lower()
        place = (i for i, part in enumerate(_LIKELY) if part in name)
        return next(place, len(_LIKELY)), path

    return tuple(sorted(font_manager.findSystemFonts(), key=rank))
