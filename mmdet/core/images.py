"""Files that hold images or videos: what they are called, and reading one image or its size."""

import mmap
import os
import re
from functools import partial
from pathlib import Path

import cv2
import numpy as np

try:
    import simplejpeg
except ImportError:  # where there is no wheel OpenCV decodes, which is silent about damage
    simplejpeg = None

from mmdet.core.errors import UndecodableFrameError, WriteError
from mmdet.core.fileio import atomic_write
from mmdet.core.image_header import ImageHeader, read_header

IMAGE_SUFFIXES = {'.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff'}
JPEG = b'\xff\xd8'  # how it begins
MAX_PIXELS = 1 << 30  # of what OpenCV decodes
# what libjpeg says of lost pixels, and what it warns of in headers
DAMAGE = re.compile('corrupt JPEG|premature end of JPEG', re.IGNORECASE)
HARMLESS = re.compile('JFIF revision|Adobe color transform|ICC marker|Invalid SOS parameters')
VIDEO_SUFFIXES = {'.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg', '.ts', '.wmv'}
# what sensors have; a picture has as many bits as its brightest sample needs
_DEPTHS = (8, 10, 12, 14, 16, 20, 24, 32)
SCALED = 'Scale them to 8 or 16 bits in the same way for all frames.'


def is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def natural_key(path: Path | str) -> list[tuple[int, int | str]]:
    """Sorts numbers in names by their value: frame_2 before frame_10."""
    parts = re.split(r'(\d{1,999})', str(path))  # longer numbers are none to Python
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts if part]


def read_image(path: str) -> np.ndarray:
    """[H, W, 3] uint8 BGR of an image file, turned upright by its EXIF orientation.

    Transparency is omitted, palettes and grey become colours, more than 8 bits are scaled by the
    bits in use (see `to_eight_bits`).

    Raises:
        FileNotFoundError: there is no such file.
        UndecodableFrameError: it is empty, cut short, no image, a JPEG with damage that its decoder
            notices, or has samples that do not fit into 8 bits.
    """
    image, data = None, b''
    try:
        with open(path, 'rb') as file:
            data = file.read()
        if data:
            image = _decode(data, read_header(data))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, cv2.error) as error:
        raise UndecodableFrameError(f'Cannot read {path}: {error}', path) from error
    if image is None:
        raise UndecodableFrameError(
            f'Cannot decode {path} ({len(data)} bytes): it is empty, truncated or not an image',
            path,
        )
    return image


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels of what `read_image` gives; reads the header where it can.

    Raises:
        FileNotFoundError: there is no such file.
        UndecodableFrameError: it is no image; names it.
    """
    try:
        with open(path, 'rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            header = read_header(data)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # ValueError: empty
        raise UndecodableFrameError(f'Cannot read {path}: {error}', str(path)) from error
    return header.upright_size if header else read_image(str(path)).shape[1::-1]


def write_image(path: str | os.PathLike, image: np.ndarray, quality: int = 95) -> None:
    """Write [H, W, 3] uint8 BGR in the format of the ending, whole or not at all.

    Args:
        quality: of JPEG, 0 to 100.
    """
    jpeg = Path(path).suffix.lower() in ('.jpg', '.jpeg')
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if jpeg else []  # others warn of it
    try:
        data = cv2.imencode(Path(path).suffix, image, options)[1]
    except cv2.error as error:
        width, height = image.shape[1::-1]
        raise WriteError(
            f'cannot write {path}: {Path(path).suffix or "no ending"} is no format for an image of '
            f'{width}x{height} pixels'
        ) from error
    with atomic_write(path, 'wb', sync=False) as file:
        file.write(data.tobytes())


def _decode(data: bytes, header: ImageHeader | None) -> np.ndarray | None:
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
    image = _decode_jpeg(data, header) if data.startswith(JPEG) else None
    if header is None:  # a format whose header only OpenCV reads
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if image is None else image
        return None if image is None else to_eight_bits(image)
    if header.is_float and header.bits < 32:
        raise ValueError(f'it holds fractions of {header.bits} bits. Save it as 8 or 16 bits.')
    if header.bits >= 32:  # OpenCV makes no colours of grey ones of these
        flags = cv2.IMREAD_UNCHANGED
    if image is None:
        # OpenCV turns TIFF by itself, whatever the flag, other formats in some versions only
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        return None
    image = to_eight_bits(image)
    if image.ndim == 2 or image.shape[2] == 1:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    image = np.ascontiguousarray(image[..., :3])
    return image if header.is_tiff else _upright(image, header.orientation)


def _decode_jpeg(data: bytes, header: ImageHeader | None) -> np.ndarray | None:
    """[H, W, 3] BGR, as OpenCV decodes it to the last bit; None: let OpenCV try.

    OpenCV writes what the decoder notices of damage to the standard error, and gives what is left
    of the picture as a whole one.

    Raises:
        ValueError: pixels are lost.
    """
    if simplejpeg is None or (header and header.width * header.height > MAX_PIXELS):
        return None
    decode = partial(simplejpeg.decode_jpeg, data, 'BGR', False, False)
    try:
        return decode(strict=True)
    except ValueError as error:  # the last thing that the decoder said
        harmless, damaged = HARMLESS.search(str(error)), DAMAGE.search(str(error))
        try:
            image = None if damaged and not harmless else decode(strict=False)
        except ValueError:
            return None  # a kind of JPEG that it does not know
        if not harmless:
            raise ValueError(f'it is damaged or truncated ({error})') from error
        return image


def _upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation: 5 to 8 exchange the axes, then either axis may run backwards."""
    if orientation == 1:
        return image
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def to_eight_bits(image: np.ndarray) -> np.ndarray:
    """uint8 of an image of any number type.

    Whole numbers keep the upper 8 of the bits in use: thermal and X-ray cameras write 10, 12 or 14
    bits in files of 16, of which the upper 8 would be nearly black. Fractions are taken from 0..1
    or, where they exceed it, from 0..255.

    Raises:
        ValueError: values that have no place in 8 bits; says which, and what to do.
    """
    if image.dtype == np.uint8:
        return image
    lowest, highest = image.min(), image.max()
    fault = f'values from {lowest} to {highest}'
    if image.dtype.kind == 'f':
        if not np.isfinite(image).all():
            raise ValueError('it holds fractions that are not finite. ' + SCALED)
        if lowest < 0 or highest > 255:
            raise ValueError(f'it holds fractions, {fault}, not in 0..1 or 0..255. {SCALED}')
        return np.rint(image * 255 if highest <= 1 else image).astype(np.uint8)
    if lowest < 0:
        raise ValueError(f'it holds {fault}: those below 0 have no place in 8 bits. {SCALED}')
    bits = next(depth for depth in _DEPTHS if int(highest) < 1 << depth)
    return (image >> (bits - 8)).astype(np.uint8)
