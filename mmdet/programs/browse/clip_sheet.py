"""Clips as a model gets them: a page with one row per clip, and frames for a video.

Boxes are those of the annotations, in the colour of their class, with class and track; regions to
ignore are grey and dashed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

import cv2
import numpy as np

from mmdet.programs.analyse.drawn_frames import MIN_SHORT_SIDE
from mmdet.structures import Clip, Frame
from mmdet.visualization.contact_sheet import contact_sheet
from mmdet.visualization.draw import draw_boxes
from mmdet.visualization.fonts import fit_text, put_text, readable_names, text_mask
from mmdet.visualization.palette import Color, class_color

KEY_COLOR: Color = (0, 140, 255)  # orange, around the key frame
IGNORE_COLOR: Color = (170, 170, 170)
PAPER: Color = (255, 255, 255)
EDGE = 5  # pixels around a tile of a page
PAGE_WIDTH, SMALLEST_TILE, LARGEST_TILE = 2400, 200, 640
SINGLE_TILE = 600


@dataclass
class ShownClip:
    """A clip and what is written beside it.

    `name` says where it is from, `tracks` whether the instance ids hold over several frames,
    `images` are [H, W, 3] uint8 BGR, one per frame.
    """

    clip: Clip
    name: str
    tracks: bool
    images: Sequence[np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        packed = self.clip.images
        frames = [frame.image for frame in self.clip.frames]
        rows = map(self.clip.row_of, range(len(self.clip.frames)))
        self.images = frames if packed is None else [packed[row].numpy() for row in rows]


def clip_sheet(clips: Sequence[ShownClip], classes: Sequence[str], title: str) -> np.ndarray:
    """One row per clip: the key frame with an orange edge, then its references, with their numbers.

    Clips of a single frame need no rows of their own and fill the page side by side.

    Returns:
        [H, W, 3] uint8 BGR.
    """
    columns = max(len(shown.images) for shown in clips)
    if columns == 1:
        tiles = [_tile(shown, 0, classes, SINGLE_TILE, PAPER) for shown in clips]
        captions = [
            f'{PurePath(c.name).name}, {_place(c.clip.key, c)}, {_objects(c.clip.key)}'
            for c in clips
        ]
        return contact_sheet(tiles, captions, title, tile_width=SINGLE_TILE)
    side = min(max(PAGE_WIDTH // columns, SMALLEST_TILE), LARGEST_TILE)
    images: list[np.ndarray | None] = []
    captions = []
    for shown in clips:
        empty = columns - len(shown.images)
        edges = [KEY_COLOR] + [PAPER] * (len(shown.images) - 1)
        images += [_tile(shown, i, classes, side, edge) for i, edge in enumerate(edges)]
        images += [None] * empty
        captions += [
            f'{_place(frame, shown, rows=True)}, {_objects(frame)}' for frame in shown.clip.frames
        ] + [''] * empty
    titles = [_row_title(shown) for shown in clips]
    return contact_sheet(images, captions, title, columns, side, row_titles=titles)


def video_picture(shown: ShownClip, classes: Sequence[str]) -> np.ndarray:
    """The key frame over a line of text, enlarged by a whole factor when it is small."""
    frame, image = shown.clip.key, shown.images[0]
    factor = -(-MIN_SHORT_SIDE // min(image.shape[:2]))
    drawn = _draw(image, frame, classes, shown.tracks, factor)
    size = max(12, round(min(drawn.shape[:2]) / 30))
    line = np.full((text_mask('', size).shape[0] + 4, drawn.shape[1], 3), 0, np.uint8)
    text = f'frame {frame.frame_id} of {frame.video_length}, {_objects(frame)}, {shown.name}'
    put_text(line, fit_text(text, size, line.shape[1] - 8), 4, 2, size, (255, 255, 255))
    return np.concatenate([drawn, line])


def _tile(shown: ShownClip, i: int, classes: Sequence[str], side: int, edge: Color) -> np.ndarray:
    """Frame `i` of a clip, at most `side` pixels wide and high with its coloured edge."""
    image = shown.images[i]
    factor = (side - 2 * EDGE) / max(image.shape[:2])
    drawn = _draw(image, shown.clip.frames[i], classes, shown.tracks, factor)
    return cv2.copyMakeBorder(drawn, *[EDGE] * 4, cv2.BORDER_CONSTANT, value=edge)


def _draw(
    image: np.ndarray, frame: Frame, classes: Sequence[str], tracks: bool, factor: float
) -> np.ndarray:
    """A scaled copy with the boxes of the frame; text is set after scaling, to stay sharp."""
    height, width = image.shape[:2]
    size = max(1, round(width * factor)), max(1, round(height * factor))
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    picture = cv2.resize(image, size, interpolation=method)
    scale = np.tile([size[0] / width, size[1] / height], 2)
    if frame.boxes_ignore is not None and len(frame.boxes_ignore):
        number = len(frame.boxes_ignore)
        texts, colors = ['ignored'] * number, [IGNORE_COLOR] * number
        picture = draw_boxes(picture, frame.boxes_ignore * scale, texts, colors, dashed=True)
    if frame.boxes is None:
        return picture
    names = readable_names(classes)
    texts = [names[label] for label in frame.labels]
    if tracks and frame.instance_ids is not None:
        ids = frame.instance_ids.tolist()
        texts = [f'{t} #{i}' if i >= 0 else t for t, i in zip(texts, ids, strict=True)]
    colors = [class_color(int(label)) for label in frame.labels]
    return draw_boxes(picture, frame.boxes * scale, texts, colors)


def _place(frame: Frame, shown: ShownClip, rows: bool = False) -> str:
    """Where in its video a frame is; in rows, where from the key frame."""
    key = shown.clip.key
    if frame is key:
        place = f'frame {frame.frame_id}' if shown.tracks else 'image'
        return f'key: {place}' if rows else place
    return (
        f'frame {frame.frame_id} ({frame.frame_id - key.frame_id:+d})' if shown.tracks else 'copy'
    )


def _objects(frame: Frame) -> str:
    if frame.boxes is None:
        return 'no annotations'
    number = len(frame.boxes)
    return f'{number or "no"} object{"s" * (number != 1)}'


def _row_title(shown: ShownClip) -> str:
    key = shown.clip.key
    parts = [shown.name]
    if shown.tracks:
        parts.append(f'{key.video_length} frames')
    height, width = shown.images[0].shape[:2]
    parts.append(f'{key.ori_shape[1]}x{key.ori_shape[0]} to {width}x{height}')
    if key.flip:
        parts.append('flipped')
    return '   '.join(parts)
