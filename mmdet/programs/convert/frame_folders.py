"""Where the frames of a video are: a folder of images, or a video file that is extracted to one."""

import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath

from mmdet.core import images
from mmdet.core.errors import ConversionError, UndecodableFrameError, VideoError
from mmdet.core.folders import hidden
from mmdet.core.images import is_image, is_video, natural_key, write_image
from mmdet.core.progress import FrameProgress
from mmdet.programs.convert.records import FrameRecord, ObjectRecord, VideoSource
from mmdet.video.video_file import VideoFile

JPEG_QUALITY = 95


@dataclass
class FrameFolder:
    """The frames of one video in order. `name` is its folder relative to the image root."""

    name: str
    files: list[Path]
    fps: float | None = None

    def video(self, read: Callable[[], Iterator[FrameRecord]]) -> VideoSource:
        return VideoSource(self.name, len(self.files), read, self.fps)


def frame_record(image: Path, img_root: Path, objects: list[ObjectRecord]) -> FrameRecord:
    """A frame as it is on disk, with its objects."""
    return FrameRecord(relative_name(image, img_root), *image_size(image), objects)


# what Roboflow puts behind the name of every image: clip-12_jpg.rf.3f2a9c1e...
_ROBOFLOW = re.compile(r'[_.](jpe?g|png|bmp|webp|tiff?)\.rf\.[0-9a-z]{8,}$', re.IGNORECASE)


def frame_stem(stem: str) -> str:
    """The name that a frame had before an export put a hash behind it."""
    return _ROBOFLOW.sub('', stem)


def trailing_number(stem: str) -> int | None:
    """The number a name ends in: 12 of `cam1_000012`."""
    digits = re.search(r'\d+$', frame_stem(stem))
    return int(digits[0]) if digits else None


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels, upright, as training loads it; see `images.image_size`."""
    try:
        return images.image_size(path)
    except (FileNotFoundError, UndecodableFrameError) as error:
        raise ConversionError(f'{path} cannot be read as an image: {error}') from error


def checked_size(path: Path, labelled: tuple[int, int] | None, origin: str) -> tuple[int, int]:
    """(width, height) of an image, which must be what its labels say, if they say it."""
    size = image_size(path)
    if labelled not in (None, size):
        raise ConversionError(
            f'{origin} is for {labelled[0]:g}x{labelled[1]:g} pixels, but {path} has '
            f'{size[0]}x{size[1]}: its boxes do not fit. (Sizes are those of the picture upright, '
            f'as its EXIF orientation says.)'
        )
    return size


def relative_name(path: Path, img_root: Path) -> str:
    """`path` relative to the image root, in which it must lie, with slashes."""
    try:
        return _absolute(path).relative_to(_absolute(img_root)).as_posix()
    except ValueError:
        raise ConversionError(
            f'{path} does not lie in the image root {img_root}. Give --img-root a folder that '
            f'holds the frames of all videos.'
        ) from None


def images_in(folder: Path) -> list[Path]:
    """The images that lie in a folder itself, in natural order; none if there is no such folder."""
    if not folder.is_dir():
        return []
    found = [p for p in folder.iterdir() if is_image(p) and not hidden(p.name)]
    return in_order(found)


def in_order(files: Iterable[Path]) -> list[Path]:
    """Images of one folder in natural order; two must not differ in their ending only."""
    files = sorted(files, key=lambda path: natural_key(path.name))
    for one, other in pairwise(files):
        if one.stem == other.stem:
            raise ConversionError(
                f'{one} and {other.name} would be the same frame: take one of them away.'
            )
    return files


def find_frames(
    folders: Iterable[Path], names: Sequence[str], img_root: Path, missing: str
) -> FrameFolder:
    """The frames of a video that goes by one of `names`, from the first place that has them.

    A place is FOLDER/NAME with images, or a video file FOLDER/NAME or FOLDER/NAME.mp4 (.avi, ...);
    an empty name stands for the images of the folder itself. An error says first what is `missing`.
    """
    places = [folder / name for folder in folders for name in names]
    for place in dict.fromkeys(places):
        files = images_in(place)
        if files:
            return FrameFolder(folder_name(place, img_root), files)
        for video in _videos_called(place):
            return frames_of_video(video, img_root)
    raise ConversionError(
        f'{missing}: found neither a folder of images nor a video file at any of: '
        f'{", ".join(dict.fromkeys(map(str, places)))}'
    )


def numbered_frames(
    frames: FrameFolder, names: Sequence[str], first: int, origin: Path
) -> list[Path]:
    """The frames that the numbers in `names` (frame_000012) stand for, counted from `first`."""
    files = frames.files
    found = []
    for name in names:
        number = trailing_number(PurePosixPath(name).stem)
        if number is None or not 0 <= number - first < len(files):
            raise ConversionError(
                f'{origin}: image {name!r} is no frame of {files[0].parent}, which has '
                f'{len(files)} (numbered from {first}).'
            )
        found.append(files[number - first])
    return found


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
    with _opened(video) as source:
        rate = float(source.fps) if source.fps else None
        if not images_in(folder):
            extract_frames(video, folder)
    return FrameFolder(name, images_in(folder), rate)


def extract_frames(video: Path, folder: Path) -> int:
    """Write every frame of a video as FOLDER/%06d.jpg, numbered from 0 in the order of display.

    They are the frames that `VideoDetector` sees, upright as players show them. The folder appears
    when all frames are in it.

    Returns:
        the number of frames.
    """
    if folder.exists():
        raise ConversionError(f'{folder} exists, but holds no images: remove or rename it.')
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f'.{folder.name}.{secrets.token_hex(4)}.tmp')
    count = 0
    try:
        with _opened(video) as source:
            temporary.mkdir()
            with FrameProgress(source.num_frames, f'Extracting {video}') as progress:
                for frame in source.frames():
                    write_image(temporary / f'{count:06d}.jpg', frame.image, JPEG_QUALITY)
                    count += 1
                    progress.advance(1)
            if source.broken:
                raise ConversionError(
                    f'{video.parent}/{source.broken}. Its frames would not be those that were '
                    f'labelled: repair it (ffmpeg -i INPUT -c:v libx264 OUTPUT.mp4), or cut it.'
                )
        if count == 0:
            raise ConversionError(f'{video} has no frames')
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return count


@contextmanager
def _opened(video: Path) -> Iterator[VideoFile]:
    """The same reader that detection uses, so that a frame has the same number everywhere."""
    try:
        with closing(VideoFile(video)) as source:
            yield source
    except VideoError as error:
        raise ConversionError(str(error)) from error


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))
