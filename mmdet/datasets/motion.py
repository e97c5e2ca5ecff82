"""Motion IoU: how much an object's box overlaps its own boxes in the neighbouring frames.

Slow objects overlap themselves (above 0.9), fast ones do not (below 0.7). Definition (FGFA, Zhu et
al. 2017, section 5): the mean IoU of the box at frame t with those of the same track at t-10..t+10.
It is computed from the track ids of any CocoVID file, or read from the official file of ImageNet
VID val, `vid_groundtruth_motion_iou.mat`.

A: annotations of the file, in the order of `CocoVideoIndex` (by image, images in file order).
"""

import hashlib
import zlib
from contextlib import suppress
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from mmdet.core.errors import EvaluationError
from mmdet.core.fileio import atomic_write
from mmdet.datasets.parsers import CocoVideoIndex
from mmdet.datasets.parsers.index_cache import cache_folders, first_writable
from mmdet.datasets.selection import image_positions

REACH = 10  # frames to either side
EPS = 1e-10  # as in the values of the official file: a track of one frame has motion IoU 1
MAT_VARIABLE = 'motion_iou'


def motion_iou(track: np.ndarray, frame: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Mean IoU of each box with those of its track up to 10 frames before and after.

    (sum of IoUs + 1e-10) / (number of neighbours + 1e-10), over the neighbours that exist, so that
    1 stands for an object without any. Boxes without +1. If a track has two boxes in one frame (an
    error of the labels), each is compared with the first of its neighbour frames.

    Args:
        track: [A] int, one number per object and video.
        frame: [A] int frame ids from 0.
        boxes: [A, 4] xywh, pixels.

    Returns:
        [A] float64 in 0..1.
    """
    total, count = np.zeros(len(track)), np.zeros(len(track))
    if len(track) == 0:
        return total
    _, track = np.unique(track, return_inverse=True)
    key = track * (int(frame.max()) + REACH + 1) + frame  # neighbours never cross into a track
    order = np.argsort(key, kind='stable')
    key = key[order]
    x, y, w, h = boxes[order].T
    for distance in range(1, REACH + 1):
        for step in (-distance, distance):
            other = np.minimum(np.searchsorted(key, key + step), len(key) - 1)
            here = np.flatnonzero(key[other] == key + step)
            other = other[here]
            width = np.minimum((x + w)[here], (x + w)[other]) - np.maximum(x[here], x[other])
            height = np.minimum((y + h)[here], (y + h)[other]) - np.maximum(y[here], y[other])
            overlap = np.maximum(width, 0) * np.maximum(height, 0)
            union = (w * h)[here] + (w * h)[other] - overlap
            total[order[here]] += np.divide(
                overlap, union, out=np.zeros(len(here)), where=union > 0
            )
            count[order[here]] += 1
    return (total + EPS) / (count + EPS)


def motion_from_tracks(
    index: CocoVideoIndex, cache_dir: str | Path | None = None
) -> np.ndarray | None:
    """Motion IoU of every annotation, or None where the file has no track ids or no videos.

    Kept in a file beside the annotation index, named by the content it was computed from; one that
    is damaged is computed again.

    Args:
        index: of the annotation file.
        cache_dir: folder for the file; default: where the annotation index is kept.
    """
    position = image_positions(index)
    video = index.image_video[position]
    if not index.has_track_ids or (video < 0).any():
        return None
    _, instance = np.unique(index.ann_instance_ids, return_inverse=True)
    track = video.astype(np.int64) * (len(instance) + 1) + instance
    frame = index.image_frame_ids[position].astype(np.int64)
    boxes = np.asarray(index.ann_boxes)
    content = hashlib.sha256(b''.join(a.tobytes() for a in (track, frame, boxes))).hexdigest()
    folders = cache_folders(index.ann_file, cache_dir)
    for folder in folders:
        motion = _load(folder / f'motion-{content[:32]}.npz', content)
        if motion is not None:
            return motion
    motion = motion_iou(track, frame, boxes)
    folder = first_writable(folders)
    if folder is not None:
        with suppress(OSError), atomic_write(folder / f'motion-{content[:32]}.npz', 'wb') as file:
            np.savez(file, motion=motion, content=np.array(content))
    return motion


def _load(path: Path, content: str) -> np.ndarray | None:
    """The motion IoUs of a cache file, None unless it is whole and of that content."""
    try:
        with np.load(path, allow_pickle=False) as stored:  # a zip: reading checks the sums
            return stored['motion'] if stored['content'] == content else None
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error):
        return None


def motion_from_mat(path: str | Path, index: CocoVideoIndex) -> np.ndarray:
    """Motion IoU of every annotation from a MATLAB file in the layout of ImageNet VID val.

    The file holds a cell array `motion_iou`: per image, in ascending image id, one value per
    annotation in the order of the annotation file, and an empty array where there is none.

    Raises:
        FileNotFoundError, EvaluationError: what is wrong with the file, or where it does not fit.
    """
    cells = _read_cells(Path(path))
    order = np.argsort(index.image_ids, kind='stable')
    if len(cells) != len(index):
        raise EvaluationError(
            f'{path} has {len(cells)} images, but {index.ann_file} has {len(index)}. A motion file '
            f'belongs to one annotation file; leave `motion_file` out to compute motion from the '
            f'track ids.'
        )
    values: list[np.ndarray] = [None] * len(cells)
    for position, cell in zip(order, cells, strict=True):
        values[position] = cell
    given, wanted = np.array([len(v) for v in values]), np.diff(index.ann_offsets)
    wrong = order[(given != wanted)[order]]
    if len(wrong):
        at = int(wrong[0])
        raise EvaluationError(
            f'{path} has {given[at]} objects for image {index.image_ids[at]} '
            f'({index.file_name(at)}), but {index.ann_file} has {wanted[at]}; {len(wrong)} images '
            f'differ. A motion file belongs to one annotation file; leave `motion_file` out to '
            f'compute motion from the track ids.'
        )
    motion = np.concatenate(values) if values else np.zeros(0)
    if not ((motion >= 0) & (motion <= 1)).all():
        raise EvaluationError(f'{path} holds motion IoUs outside 0..1. Is it a motion file?')
    return motion


def _read_cells(path: Path) -> list[np.ndarray]:
    from scipy.io import loadmat

    if not path.is_file():
        raise FileNotFoundError(
            f'{path}: there is no such motion file. Leave `motion_file` out to compute motion from '
            f'the track ids.'
        )
    try:
        content = loadmat(path)
    except Exception as error:  # scipy raises a dozen kinds for a file that is not MATLAB's
        raise EvaluationError(f'{path} cannot be read as a MATLAB file: {error}') from error
    if MAT_VARIABLE not in content:
        names = ', '.join(sorted(name for name in content if not name.startswith('__')))
        raise EvaluationError(f'{path} has no variable {MAT_VARIABLE!r}, only {names or "none"}.')
    return [np.asarray(cell, np.float64).ravel() for cell in content[MAT_VARIABLE].ravel()]
