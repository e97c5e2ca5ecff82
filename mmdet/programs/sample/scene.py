"""A rendered video: moving background, objects in depth order, degraded stretches, labels."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from mmdet.programs.sample.degrade import cover, degrade, foliage, plan_stretches
from mmdet.programs.sample.textures import background
from mmdet.programs.sample.tracks import Track, make_track, visible_box

PAN_MARGIN = (110, 50)  # pixels of background beyond the frame, for the camera's motion
OCCLUDED_SHARE = 0.3  # of the box behind nearer objects or a cover
NUM_GRAINS = 8  # sensor-noise images that a video cycles through


@dataclass
class Label:
    """One annotated object: box in whole pixels of the frame."""

    name: str
    track: int
    box: tuple[int, int, int, int]  # xyxy
    occluded: bool


@dataclass
class RenderedFrame:
    image: np.ndarray  # [H, W, 3] uint8 BGR
    labels: list[Label]
    degraded_by: str  # one of degrade.KINDS, or ''


def render(
    names: list[str],
    speeds: list[str],
    degradations: list[str],
    num_frames: int,
    size: tuple[int, int],
    rng: np.random.Generator,
) -> Iterator[RenderedFrame]:
    """The frames of one video, in order.

    Args:
        names, speeds: class and speed ('slow', 'medium', 'fast') per object, the farthest first.
        degradations: kinds of degradation, one stretch each, as far as they fit.
        num_frames: length.
        size: width and height, pixels.
        rng: all of the randomness; the same state gives the same bytes.
    """
    width, height = size
    field = background(rng, height + PAN_MARGIN[1], width + PAN_MARGIN[0])
    pan = _pan(num_frames, rng)
    tracks = _make_tracks(names, speeds, num_frames, size, rng)
    stretches = plan_stretches(num_frames, degradations, rng)
    leaves = foliage(rng, 96)
    grains = rng.normal(0, 3.0, (NUM_GRAINS, height, width, 1)).astype(np.int16).repeat(3, axis=3)
    for frame in range(num_frames):
        stretch = next((s for s in stretches if s.start <= frame < s.stop), None)
        shift = np.float32([[1, 0, -pan[frame, 0]], [0, 1, -pan[frame, 1]]])
        image = cv2.warpAffine(field, shift, size, flags=cv2.INTER_LINEAR)
        boxes = [track.box(frame) for track in tracks]
        for track, box in zip(tracks, boxes, strict=True):
            _paste(image, track, frame, box)
        covered = stretch is not None and stretch.kind == 'occlusion'
        if covered:
            for box in boxes:
                cover(image, box, stretch, frame, leaves)
        elif stretch is not None:
            image = degrade(image, stretch, frame, rng)
        image = cv2.add(image, grains[frame % NUM_GRAINS], dtype=cv2.CV_8U)
        labels = _labels(tracks, boxes, size, covered)
        yield RenderedFrame(image, labels, stretch.kind if stretch else '')


def _pan(num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """[T, 2] offset of the frame in the background field: a camera that drifts, or stands."""
    time = np.linspace(-0.5, 0.5, num_frames)[:, None]
    middle = np.array(PAN_MARGIN) / 2
    reach = np.array(PAN_MARGIN) * rng.uniform(-0.8, 0.8, 2) * (rng.uniform() < 0.7)
    return middle + reach * time


def _make_tracks(
    names: list[str],
    speeds: list[str],
    num_frames: int,
    size: tuple[int, int],
    rng: np.random.Generator,
) -> list[Track]:
    """Tracks that do not hide each other all the time: of a few draws, the one that meets least."""
    tracks: list[Track] = []
    for name, speed in zip(names, speeds, strict=True):
        draws = [make_track(name, speed, num_frames, size, rng) for _ in range(4 if tracks else 1)]
        tracks.append(min(draws, key=lambda draw: _hidden(draw, tracks, num_frames)))
    return tracks


def _hidden(track: Track, others: list[Track], num_frames: int) -> float:
    """Mean share of the other objects' boxes that `track` lies over, on every fourth frame."""
    frames = range(0, num_frames, 4)
    shares = [_covered_share(o.box(f), track.box(f)) for o in others for f in frames]
    return float(np.mean(shares)) if shares else 0.0


def _covered_share(box: np.ndarray, by: np.ndarray) -> float:
    sides = np.minimum(box[2:], by[2:]) - np.maximum(box[:2], by[:2])
    return float(np.prod(np.maximum(sides, 0)) / np.prod(box[2:] - box[:2]))


def _paste(image: np.ndarray, track: Track, frame: int, box: np.ndarray) -> None:
    """Draw the object over `image`, touching only the pixels around its box."""
    height, width = image.shape[:2]
    left, top = np.clip(np.floor(box[:2]).astype(int) - 2, 0, (width, height))
    right, bottom = np.clip(np.ceil(box[2:]).astype(int) + 2, 0, (width, height))
    if right <= left or bottom <= top:
        return
    matrix = track.placement(frame)
    matrix[:, 2] -= (left, top)
    # from pixel centres at +0.5 (outlines) to OpenCV's at whole numbers
    matrix[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5
    patch = cv2.warpAffine(
        track.sprite.image, matrix, (int(right - left), int(bottom - top)), flags=cv2.INTER_LINEAR
    ).astype(np.uint16)
    behind = image[top:bottom, left:right]
    rest = (behind * (255 - patch[..., 3:]) + 127) // 255
    image[top:bottom, left:right] = np.minimum(patch[..., :3] + rest, 255)


def _labels(
    tracks: list[Track], boxes: list[np.ndarray], size: tuple[int, int], covered: bool
) -> list[Label]:
    labels = []
    for number, (track, box) in enumerate(zip(tracks, boxes, strict=True)):
        visible = visible_box(box, size)
        if visible is None:
            continue
        hidden = sum(_covered_share(box, nearer) for nearer in boxes[number + 1 :])
        labels.append(Label(track.name, number, visible, covered or hidden > OCCLUDED_SHARE))
    return labels
