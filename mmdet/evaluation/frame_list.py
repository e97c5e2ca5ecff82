"""Scoring some of the frames: a text file that names them."""

from pathlib import Path

import numpy as np

from mmdet.core.errors import EvaluationError
from mmdet.core.text import read_rows
from mmdet.datasets.parsers import CocoVideoIndex
from mmdet.registry import closest

MAX_DIGITS = 18  # of a frame id: Python refuses numbers of thousands


def read_frame_list(path: str | Path, index: CocoVideoIndex) -> np.ndarray:
    """Image ids, ascending and each once, of the frames that a text file names.

    A line is `VIDEO FRAME_ID` (name as in the annotation file, frame from 0), the `file_name` of an
    image, or a row of an ILSVRC list: the file name without its ending, then anything, such as the
    kind of damage in `VID_val_degraded.txt`. Empty lines and those starting with # do not count.

    Raises:
        FileNotFoundError: no such file.
        EvaluationError: a line that names no frame of the annotation file, or no line at all.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: there is no such frame list')
    rows = read_rows(path, EvaluationError)
    lines = [(number, line) for number, line in rows if not line.startswith('#')]
    if not lines:
        raise EvaluationError(f'{path} names no frame. Legal lines: {_LEGAL}.')
    videos = {index.video_name(v): v for v in index.videos()}
    by_frame = [_frame_of_video(line, videos, index) for _, line in lines]
    images = {}
    if None in by_frame:
        for position in range(len(index)):
            name = index.file_name(position)
            images[name] = images[str(Path(name).with_suffix(''))] = position
    positions = [
        images.get(line, images.get(line.split()[0])) if position is None else position
        for (_, line), position in zip(lines, by_frame, strict=True)
    ]
    if None in positions:
        number, line = lines[positions.index(None)]
        raise EvaluationError(
            f'{path}, line {number}: {line!r} is no frame of {index.ann_file}. '
            f'Legal lines: {_LEGAL}. {_why(line, videos, index)}'
        )
    return np.unique(index.image_ids[np.array(positions)])


_LEGAL = '`VIDEO FRAME_ID` (frames from 0), or the `file_name` of an image, also without `.JPEG`'


def _frame_of_video(line: str, videos: dict[str, int], index: CocoVideoIndex) -> int | None:
    name, _, frame = line.rpartition(' ')
    if name.strip() not in videos or not frame.isdecimal() or len(frame) > MAX_DIGITS:
        return None
    frames = index.frames_of(videos[name.strip()])
    return int(frames[int(frame)]) if int(frame) < len(frames) else None


def _why(line: str, videos: dict[str, int], index: CocoVideoIndex) -> str:
    name = line.rpartition(' ')[0].strip()
    if name in videos:
        return f'The video {name} has {len(index.frames_of(videos[name]))} frames.'
    return f'Videos of the file: {closest(name or line, list(videos)[:20])}'
