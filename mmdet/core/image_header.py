"""What the header of an image file says: size, EXIF orientation, kind of samples.

JPEG, PNG, WebP, TIFF and BMP, by their first bytes and not by their name. Nothing is decoded and
there is no limit of the size, so that an aerial picture of 15000 x 15000 is as good as any other.
(Pillow refuses large pictures, decodes a whole PNG to find its EXIF, and knows no half floats.)

Sources: ITU-T T.81 B.1 (JPEG), PNG 3rd edition 11.3, RFC 9649 (WebP), TIFF 6.0, CIPA DC-008 (EXIF).
"""

import struct
import zlib
from collections.abc import Iterator
from mmap import mmap
from typing import NamedTuple

Data = bytes | mmap
_JPEG, _PNG, _TIFF = b'\xff\xd8', b'\x89PNG\r\n\x1a\n', (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')
_EXIF = b'Exif\0\0'
_TAIL = 1 << 16  # bytes at the end of a PNG in which EXIF is looked for
_SOS = 0xDA  # JPEG: the scan, compressed data, follows
_NO_FRAME = {0xC4, 0xC8, 0xCC}  # of C0..CF, which begin a frame otherwise
_ALONE = {0x01, *range(0xD0, 0xD9)}  # JPEG markers without a length
_QUARTER_TURNS = {5, 6, 7, 8}
_WIDTH, _HEIGHT, _BITS, _ORIENTATION, _FORMAT = 256, 257, 258, 274, 339  # tags of TIFF
_FLOAT = 3  # SampleFormat
_CODES = {1: 'B', 3: 'H', 4: 'I', 6: 'b', 8: 'h', 9: 'i', 16: 'Q'}  # types of TIFF with integers


class ImageHeader(NamedTuple):
    """Width and height in pixels as stored; `orientation` is EXIF's, 1 to 8 (1: upright).

    `bits` counts those of a sample; `is_float` and `is_tiff` say what the names say.
    """

    width: int
    height: int
    orientation: int = 1
    bits: int = 8
    is_float: bool = False
    is_tiff: bool = False

    @property
    def upright_size(self) -> tuple[int, int]:
        """(width, height) as the picture is to be seen."""
        turned = self.orientation in _QUARTER_TURNS
        return (self.height, self.width) if turned else (self.width, self.height)


def read_header(data: Data) -> ImageHeader | None:
    """The header of a file; None where it is none of these formats, or damaged."""
    start = data[:12]
    try:
        for formats, read in ((_JPEG, _jpeg), (_PNG, _png), (_TIFF, _tiff)):
            if start.startswith(formats):
                return read(data)
        if start[:4] == b'RIFF' and start[8:] == b'WEBP':
            return _webp(data)
        if start.startswith(b'BM'):
            width, height = struct.unpack_from('<ii', data, 18)
            return ImageHeader(width, abs(height)) if width > 0 and height else None
    except (struct.error, IndexError, KeyError):
        pass
    return None


def _jpeg_segments(data: Data) -> Iterator[tuple[int, int, int]]:
    """(marker, start of the content, end) of the segments of a JPEG up to its first scan."""
    at = 2
    while True:
        while data[at] == 0xFF and data[at + 1] == 0xFF:  # fill bytes
            at += 1
        marker = data[at + 1]
        if data[at] != 0xFF:
            raise IndexError('no marker where one must be')
        if marker in _ALONE:
            at += 2
            continue
        end = at + 2 + struct.unpack_from('>H', data, at + 2)[0]
        yield marker, at + 4, end
        if marker == _SOS:
            return
        at = end


def _jpeg(data: Data) -> ImageHeader | None:
    size, orientation = None, None
    for marker, start, end in _jpeg_segments(data):
        if marker == 0xE1 and orientation is None and data[start : start + 6] == _EXIF:
            orientation = _orientation(data[start + 6 : end])
        elif 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME:
            size = struct.unpack_from('>HH', data, start + 1)
    return ImageHeader(size[1], size[0], orientation or 1) if size else None


def _png(data: Data) -> ImageHeader:
    """EXIF comes before the pixels or, from some writers, after them, close to the end."""
    width, height, bits = struct.unpack_from('>IIB', data, 16)
    at, kind, orientation = 8, b'', 1
    while at + 8 <= len(data) and kind not in (b'IDAT', b'eXIf'):
        length, kind = struct.unpack_from('>I4s', data, at)
        start, at = at + 8, at + 12 + length
    if kind == b'IDAT':  # the pixels are not walked through: that would read the whole file
        start = data.rfind(b'eXIf', max(start, len(data) - _TAIL)) + 4
        length = struct.unpack_from('>I', data, start - 8)[0] if start > 4 else 0
        chunk = data[start - 4 : start + length]
        end = start + length
        kind = b'eXIf' if data[end : end + 4] == struct.pack('>I', zlib.crc32(chunk)) else kind
    if kind == b'eXIf':
        orientation = _orientation(data[start : start + length])
    return ImageHeader(width, height, orientation, bits)


def _webp(data: Data) -> ImageHeader | None:
    size, orientation, at = None, 1, 12
    while at + 8 <= len(data):
        kind, length = struct.unpack_from('<4sI', data, at)
        start = at + 8
        if kind == b'VP8X':
            low = struct.unpack_from('<HBHB', data, start + 4)
            size = (low[0] | low[1] << 16) + 1, (low[2] | low[3] << 16) + 1
        elif kind == b'VP8 ' and size is None:
            size = tuple(side & 0x3FFF for side in struct.unpack_from('<HH', data, start + 6))
        elif kind == b'VP8L' and size is None:
            both = struct.unpack_from('<I', data, start + 1)[0]
            size = (both & 0x3FFF) + 1, (both >> 14 & 0x3FFF) + 1
        elif kind == b'EXIF':
            orientation = _orientation(data[start : start + length].removeprefix(_EXIF))
        at = start + length + length % 2
    return ImageHeader(*size, orientation) if size else None


def _tiff(data: Data) -> ImageHeader:
    tags = _first_directory(data)
    bits, is_float = max(tags.get(_BITS, (1,))), _FLOAT in tags.get(_FORMAT, ())
    return ImageHeader(tags[_WIDTH][0], tags[_HEIGHT][0], _turn(tags), bits, is_float, is_tiff=True)


def _orientation(exif: bytes) -> int:
    """Of a block of EXIF, which is a small TIFF; 1 where it does not say or is damaged."""
    try:
        return _turn(_first_directory(exif))
    except (struct.error, IndexError, KeyError):
        return 1


def _turn(tags: dict[int, tuple[int, ...]]) -> int:
    orientation = tags.get(_ORIENTATION, (1,))[0]
    return orientation if 1 <= orientation <= 8 else 1


def _first_directory(data: Data) -> dict[int, tuple[int, ...]]:
    """The whole numbers among the tags of the first directory of a TIFF or BigTIFF."""
    order = {b'II': '<', b'MM': '>'}[bytes(data[:2])]
    big = struct.unpack_from(order + 'H', data, 2)[0] == 43
    start = struct.unpack_from(order + ('Q' if big else 'I'), data, 8 if big else 4)[0]
    counted, head, inline = ('Q', 'HHQ', 8) if big else ('H', 'HHI', 4)
    count = struct.unpack_from(order + counted, data, start)[0]
    start += struct.calcsize(order + counted)
    width = struct.calcsize(order + head)
    tags = {}
    for at in range(start, start + count * (width + inline), width + inline):
        tag, kind, length = struct.unpack_from(order + head, data, at)
        if kind not in _CODES or tag not in (_WIDTH, _HEIGHT, _BITS, _ORIENTATION, _FORMAT):
            continue
        layout = f'{order}{length}{_CODES[kind]}'
        place = at + width
        if struct.calcsize(layout) > inline:
            place = struct.unpack_from(order + ('Q' if big else 'I'), data, place)[0]
        tags[tag] = struct.unpack_from(layout, data, place) or (1,)
    return tags
