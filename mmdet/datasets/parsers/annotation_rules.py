"""The rules between the entries of an annotation file, on whole columns.

Every rule yields its faults: the entry and what is wrong with it, in words. The index refuses a
file at the first, the checker shows them all.

N: images, A: annotations, V: videos.
"""

from collections.abc import Iterator

import numpy as np

from mmdet.datasets.parsers.annotation_table import ABSENT, SINGULAR

Fault = tuple[str, str]  # entry, rule


def duplicate_ids(name: str, ids: np.ndarray, order: np.ndarray) -> Iterator[Fault]:
    """Ids of list `name` that occur again; `order` sorts them, stably."""
    for again in np.flatnonzero(np.diff(ids[order]) == 0):
        first, second = order[again], order[again + 1]
        rule = f'the id must be unique, but {name}[{first}] and {name}[{second}] share it'
        yield f'{SINGULAR[name]} id {ids[first]}', rule


def unknown_videos(
    image_ids: np.ndarray, video_ids: np.ndarray, video_of: np.ndarray
) -> Iterator[Fault]:
    """Images whose `video_ids` stand for no video: `video_of` is negative."""
    for image in np.flatnonzero(video_of < 0):
        video = video_ids[image]
        rule = 'has no `video_id`' if video == ABSENT else f'video id {video} is not in `videos`'
        yield f'image id {image_ids[image]}', rule


def frame_numbering(
    image_ids: np.ndarray,
    frame_ids: np.ndarray,
    order: np.ndarray,
    offsets: np.ndarray,
    video_ids: np.ndarray,
    skip: np.ndarray | None = None,
) -> Iterator[Fault]:
    """The first frame of every video whose frame ids are not 0..n-1, each once.

    Args:
        image_ids, frame_ids: [N].
        order: positions of the images in videos, by video and frame id.
        offsets: [V + 1]; those of video v are order[offsets[v]] to [v + 1].
        video_ids: [V].
        skip: [V] bool, videos that are known to be incomplete.
    """
    lengths = np.diff(offsets)
    video_of = np.repeat(np.arange(len(lengths)), lengths)
    expected = np.arange(len(order)) - offsets[video_of]
    wrong = np.flatnonzero(frame_ids[order] != expected)
    _, first_of_video = np.unique(video_of[wrong], return_index=True)
    for at in wrong[first_of_video]:
        image, frame, video = order[at], expected[at], video_of[at]
        if skip is not None and skip[video]:
            continue
        given, where = frame_ids[image], f'of video id {video_ids[video]}'
        if given < 0:
            rule = 'has no `frame_id`, or a negative one'
        elif given < frame:
            twin = image_ids[order[at - 1]]
            rule = f'frame_id {given} {where} is already that of image id {twin}'
        else:
            rule = f'frame_id {given} follows, but frame_id {frame} {where} is missing'
        yield (
            f'image id {image_ids[image]}',
            f'{rule}; the frame ids of a video of {lengths[video]} frames must be '
            f'0 to {lengths[video] - 1}, each once',
        )


def unknown_ids(
    annotation_ids: np.ndarray, field: str, values: np.ndarray, known: np.ndarray, name: str
) -> Iterator[Fault]:
    """Annotations whose `field` is not an id of list `name`: `known` is negative."""
    for annotation in np.flatnonzero(known < 0):
        rule = f'{field} {values[annotation]} is not in `{name}`'
        yield f'annotation id {annotation_ids[annotation]}', rule
