"""Where the frames of a video are: a folder of images, or a video file that is extracted to one."""

import logging
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from mmengine.logging import print_log
from PIL import Image, UnidentifiedImageError

from mmdet.datasets.converters.records import ConversionError
from mmdet.engine.progress import FrameProgress

IMAGE_SUFFIXES = {'.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff'}
VIDEO_SUFFIXES = {'.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg', '.ts', '.wmv'}
JPEG_QUALITY = 95
_EXIF_ORIENTATION = 0x0112
_EXIF_QUARTER_TURNS = {5, 6, 7, 8}  # width and height change places


@dataclass
class FrameFolder:
    """The frames of one video in order. `name` is its folder relative to the image root."""

    name: str
    files: list[Path]
    fps: float | None = None


def natural_key(path: Path | str) -> list[tuple[int, int | str]]:
    """Sorts numbers in names by their value: frame_2 before frame_10."""
    parts = re.split(r'(\d+)', str(path))
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts if part]


def trailing_number(stem: str) -> int | None:
    """The number a name ends in: 12 of `cam1_000012`."""
    digits = re.search(r'\d+$', stem)
    return int(digits[0]) if digits else None


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels, upright as the EXIF orientation says; reads the header only.

    Raises:
        ConversionError: names the file that is missing or no image.
    """
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(_EXIF_ORIENTATION) in _EXIF_QUARTER_TURNS
            return image.size[::-1] if turned else image.size
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise ConversionError(f'{path} cannot be read as an image: {error}') from error


def relative_name(path: Path, img_root: Path) -> str:
    """`path` relative to the image root, with slashes.

    Raises:
        ConversionError: it lies elsewhere.
    """
    try:
        return _absolute(path).relative_to(_absolute(img_root)).as_posix()
    except ValueError:
        raise ConversionError(
            f'{path} does not lie in the image root {img_root}. Give --img-root a folder that '
            f'holds the frames of all videos.'
        ) from None


def walk_files(root: Path) -> Iterator[Path]:
    """All files below a folder in natural order, without hidden ones (`._0001.jpg` of macOS)."""
    for folder, subfolders, names in os.walk(root, followlinks=True):
        subfolders[:] = sorted((s for s in subfolders if not _hidden(s)), key=natural_key)
        for name in sorted((n for n in names if not _hidden(n)), key=natural_key):
            yield Path(folder) / name


def images_in(folder: Path) -> list[Path]:
    """The images that lie in a folder itself, in natural order; none if there is no such folder.

    Raises:
        ConversionError: two files differ in their ending only, so that both would be one frame.
    """
    if not folder.is_dir():
        return []
    found = [p for p in folder.iterdir() if is_image(p) and not _hidden(p.name)]
    return in_order(found)


def in_order(files: Iterable[Path]) -> list[Path]:
    """Images of one folder in natural order. Raises as `images_in`."""
    files = sorted(files, key=lambda path: natural_key(path.name))
    for one, other in pairwise(files):
        if one.stem == other.stem:
            raise ConversionError(
                f'{one} and {other.name} would be the same frame: take one of them away.'
            )
    return files


def is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def find_frames(folders: Iterable[Path], names: Iterable[str], img_root: Path) -> FrameFolder:
    """The frames of a video that goes by one of `names`, from the first place that has them.

    A place is FOLDER/NAME with images, or a video file FOLDER/NAME or FOLDER/NAME.mp4 (.avi, ...);
    an empty name stands for the images of the folder itself.

    Raises:
        ConversionError: nowhere; lists the places.
    """
    places = [folder / name for folder in folders for name in names]
    for place in dict.fromkeys(places):
        files = images_in(place)
        if files:
            return FrameFolder(folder_name(place, img_root), files)
        for video in _videos_called(place):
            return frames_of_video(video, img_root)
    raise ConversionError(
        f'found neither a folder of images nor a video file at any of: '
        f'{", ".join(dict.fromkeys(map(str, places)))}'
    )


def _videos_called(place: Path) -> Iterator[Path]:
    """Video files with this path, whatever their ending."""
    if place.is_file() and is_video(place):
        yield place
    elif place.name and place.parent.is_dir():
        beside = sorted(place.parent.iterdir())
        yield from (p for p in beside if p.stem == place.name and is_video(p) and p.is_file())


def folder_name(folder: Path, img_root: Path) -> str:
    """A folder relative to the image root; its own name if it is the image root."""
    name = relative_name(folder, img_root)
    return _absolute(folder).name if name == '.' else name


def frames_of_video(video: Path, img_root: Path) -> FrameFolder:
    """The frames of a video file, extracted to a folder of its name in the image root.

    A folder that is there already is taken as it is: it is made whole or not at all.
    """
    try:
        name = relative_name(video.with_suffix(''), img_root)
    except ConversionError:
        name = video.stem
    folder = img_root / name
    files = images_in(folder)
    if not files:
        extract_frames(video, folder)
        files = images_in(folder)
    return FrameFolder(name, files, _frame_rate(video))


def extract_frames(video: Path, folder: Path) -> int:
    """Write every frame of a video as FOLDER/%06d.jpg, numbered from 0 in the order of display.

    Frames are turned upright as players do. The folder appears when all frames are in it.

    Returns:
        the number of frames.

    Raises:
        ConversionError: no video, no frame in it, or it breaks off; names the file and the frame.
    """
    import av
    import av.error

    if folder.exists():
        raise ConversionError(f'{folder} exists, but holds no images: remove or rename it.')
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f'.{folder.name}.{secrets.token_hex(4)}.tmp')
    temporary.mkdir()
    count = 0
    try:
        with av.open(str(video)) as container:
            if not container.streams.video:
                raise ConversionError(f'{video} has no video stream')
            stream = container.streams.video[0]
            stream.thread_type = 'AUTO'
            expected = _expected_frames(stream)
            with FrameProgress(expected, f'Extracting {video}') as progress:
                for frame in container.decode(stream):
                    _write_jpeg(temporary / f'{count:06d}.jpg', _upright(frame))
                    count += 1
                    progress.advance(1)
            declared = stream.frames
        if count == 0:
            raise ConversionError(f'{video} has no frames')
        if declared > count:
            message = f'{video} declares {declared} frames, but only {count} can be decoded'
            print_log(message, 'current', logging.WARNING)
        os.replace(temporary, folder)
    except av.error.FFmpegError as error:
        raise ConversionError(
            f'{video} cannot be decoded after {count} frames: {error}. Repair it, or cut it there.'
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return count


def _expected_frames(stream) -> int:
    """What the container says or, where it does not, its duration times its rate; for progress."""
    if stream.frames or not (stream.duration and stream.average_rate):
        return stream.frames
    return int(stream.duration * stream.time_base * stream.average_rate)


def _upright(frame) -> np.ndarray:
    """[H, W, 3] BGR, turned by the display matrix as a player would (phones film sideways)."""
    image = frame.to_ndarray(format='bgr24')
    quarters = round(getattr(frame, 'rotation', 0) / 90)  # counter-clockwise, as np.rot90 turns
    return np.ascontiguousarray(np.rot90(image, quarters)) if quarters % 4 else image


def _write_jpeg(path: Path, image: np.ndarray) -> None:
    done, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise ConversionError(f'OpenCV could not encode {path} ({image.shape[1]}x{image.shape[0]})')
    path.write_bytes(data.tobytes())


def _frame_rate(video: Path) -> float | None:
    import av

    with av.open(str(video)) as container:
        rate = container.streams.video[0].average_rate
    return float(rate) if rate else None


def _hidden(name: str) -> bool:
    return name.startswith('.') or name == '__MACOSX'


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))
