"""Mosaic, MixUp, affine maps and colours, against what is seen in the pixels."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from mmdet.core.errors import ConfigError
from mmdet.datasets.transforms import MixUp, Mosaic, RandomAffine, RandomHSV
from mmdet.structures import Clip, Frame

COLOURS = (10, 70, 150, 250)  # of the clip and the three others
NOTHING = dict(degrees=0, translate=0, scale=(1, 1), shear=0)
rng = np.random.default_rng


def plain_clip(colour: int, size=(30, 40), frames: int = 2, bright_box=None) -> Clip:
    """Frames of one colour; `bright_box` is drawn in white and is the only object."""
    image = np.full((*size, 3), colour, np.uint8)
    if bright_box:
        x1, y1, x2, y2 = bright_box
        image[y1:y2, x1:x2] = 255
    made = [Frame(str(colour), image=image.copy(), img_shape=size) for _ in range(frames)]
    for i, frame in enumerate(made):
        frame.boxes = np.array([bright_box or [4, 6, 20, 18]], np.float32)
        frame.labels, frame.instance_ids = np.array([colour]), np.array([i])
    return Clip(made)


def mixed(transform, clip: Clip, others: list[Clip], seed: int = 0) -> Clip:
    """The clip of a dataset whose other samples are these, one after the other."""
    source = iter(others)
    clip.dataset = SimpleNamespace(other_clip=lambda rng: next(source))
    return transform(clip, rng(seed))


def bounds(lit: np.ndarray) -> list[int]:
    """The box around the pixels [H, W] that are True."""
    rows, columns = np.nonzero(lit)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize('seed', range(3))
def test_four_clips_meet_in_a_point_and_boxes_go_along(seed):
    others = [plain_clip(c) for c in COLOURS[1:]]
    for frame in mixed(Mosaic(size=40), plain_clip(COLOURS[0]), others, seed).frames:
        image = frame.image[..., 0]
        assert image.shape == frame.img_shape == (80, 80)
        _, _, x, y = bounds(image == COLOURS[0])  # the point that the first one touches
        assert 20 <= x <= 60 and 20 <= y <= 60
        expected = np.full((80, 80), 114)
        corners = [(x - 40, y - 30), (x, y - 30), (x - 40, y), (x, y)]  # 30 x 40 each
        for colour, (left, top) in zip(COLOURS, corners, strict=True):
            expected[max(top, 0) : top + 30, max(left, 0) : left + 40] = colour
        assert (image == expected).all()
        assert frame.labels.tolist() == list(COLOURS) and frame.instance_ids is None
        moved = [[4 + left, 6 + top, 20 + left, 18 + top] for left, top in corners]
        assert frame.boxes.tolist() == moved


@pytest.mark.parametrize('seed', range(3))
def test_mixup_scales_mirrors_and_cuts_the_other_one(seed):
    """The object of the other clip is where its pixels are, and the images are averaged."""
    other = plain_clip(0, bright_box=[2, 8, 30, 20])
    clip = mixed(MixUp(size=80, scale=(0.5, 1.5)), plain_clip(100, size=(60, 80)), [other], seed)
    for frame in clip.frames:
        assert frame.image.shape == (60, 80, 3)
        assert np.array_equal(frame.image, clip.key.image)
        assert frame.labels[0] == 100 and frame.boxes[0].tolist() == [4, 6, 20, 18]
        if len(frame.boxes) == 2:
            seen = bounds(frame.image[..., 0] > 150)
            np.testing.assert_allclose(frame.boxes[1], seen, atol=1.5)


@pytest.mark.parametrize('kind', [Mosaic, MixUp, RandomAffine])
def test_turned_off_it_changes_nothing(kind):
    transform, clip = kind(), plain_clip(50)
    transform.enabled, image = False, clip.key.image
    assert transform(clip, rng()).key.image is image
    if kind is not RandomAffine:
        assert kind(prob=0)(clip, rng()).key.image is image
        with pytest.raises(ConfigError, match='inside of a dataset only'):
            kind(size=40)(clip, rng())


@pytest.mark.parametrize('seed', range(3))
def test_boxes_are_around_the_pixels_of_their_object(seed):
    box = [60, 40, 110, 80]
    affine = RandomAffine(degrees=20, translate=0.1, scale=(0.8, 1.2), shear=10)
    clip = affine(plain_clip(0, size=(120, 160), bright_box=box), rng(seed))
    for frame in clip.frames:
        seen = bounds((frame.image[..., 0] > 128) & (frame.image[..., 0] != 114))
        np.testing.assert_allclose(frame.boxes[0], seen, atol=2)
    assert not np.allclose(clip.key.boxes[0], box, atol=3)
    still = plain_clip(0, size=(120, 160), bright_box=box)
    sheared = RandomAffine(**(NOTHING | {'shear': 20}))(still, rng(seed)).key.boxes[0]
    assert (sheared[2:] - sheared[:2] > [50.1, 40.1]).all()  # a slanted box needs more room


def test_colours_shift_alike_in_all_frames_and_within_their_limits():
    pixel = np.uint8([[[100, 150, 200]]])
    before = cv2.cvtColor(pixel, cv2.COLOR_BGR2HSV).astype(int)[0, 0]
    shifts = []
    for seed in range(200):
        clip = Clip([Frame(path='', image=pixel.copy()) for _ in range(2)])
        one, other = RandomHSV(5, 30, 30)(clip, rng(seed)).frames
        assert (one.image == other.image).all()
        shifts.append(cv2.cvtColor(one.image, cv2.COLOR_BGR2HSV).astype(int)[0, 0] - before)
    largest = np.abs(shifts).max(0)
    assert (largest <= [6, 32, 31]).all() and (largest >= [3, 22, 22]).all()
