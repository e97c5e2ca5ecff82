"""Files that hold images or videos: what they are called, and reading one image."""

import re
from pathlib import Path

import cv2
import numpy as np

from mmdet.core.errors import UndecodableFrameError

IMAGE_SUFFIXES = {'.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff'}
VIDEO_SUFFIXES = {'.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg', '.ts', '.wmv'}


def is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def natural_key(path: Path | str) -> list[tuple[int, int | str]]:
    """Sorts numbers in names by their value: frame_2 before frame_10."""
    parts = re.split(r'(\d+)', str(path))
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts if part]


def read_image(path: str) -> np.ndarray:
    """[H, W, 3] uint8 BGR of an image file, turned upright by its EXIF orientation.

    Raises:
        FileNotFoundError: there is no such file.
        UndecodableFrameError: it is empty, cut short (a JPEG without its end), or no image.
    """
    image = None
    try:
        with open(path, 'rb') as file:
            data = file.read()
        if data and not _is_cut_short(data):
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except FileNotFoundError:
        raise
    except (OSError, cv2.error) as error:
        raise UndecodableFrameError(f'Cannot read {path}: {error}', path) from error
    if image is None:
        raise UndecodableFrameError(
            f'Cannot decode {path} ({len(data)} bytes): it is empty, truncated or not an image',
            path,
        )
    return image


def _is_cut_short(data: bytes) -> bool:
    """A JPEG without its end marker. OpenCV 4 would fill the missing part of it with grey."""
    return data.startswith(b'\xff\xd8') and data.rfind(b'\xff\xd9') < 0
