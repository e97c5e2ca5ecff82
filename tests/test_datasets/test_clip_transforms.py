"""Clip transforms against naive loops, one frame and one box at a time."""

import cv2
import numpy as np
import pytest
import torch
from tiny_cocovid import picture

from mmdet.datasets import transforms
from mmdet.structures import Clip, Frame

BOXES = [[3.5, 4, 30, 40], [-5, -2, 12, 500], [50, 20, 61, 47.25], [10, 10, 10.5, 10.5]]
rng = np.random.default_rng


def make_clip(sizes=((64, 48),) * 3, boxes=BOXES, seeds=range(5)) -> Clip:
    frames = []
    for i, (width, height) in enumerate(sizes):
        frame = Frame(path=f'frame{i}', image=picture(seeds[i], width, height))
        frame.ori_shape = frame.img_shape = (height, width)
        frame.boxes = np.array(boxes, np.float32).reshape(-1, 4) + np.float32(i)
        frame.labels = np.arange(len(boxes))
        frame.instance_ids = np.arange(len(boxes)) + 100
        frame.boxes_ignore = np.array([[0, 0, 20, 20], [60, 40, 64, 48]], np.float32)
        frames.append(frame)
    return Clip(frames)


@pytest.mark.parametrize('scale', [(60, 100), (33, 32), (1000, 600)])
@pytest.mark.parametrize('size', [(64, 48), (48, 64), (97, 31)])
def test_resize_fits_into_the_scale(scale, size):
    original, clip = make_clip([size] * 2), transforms.Resize(scale)(make_clip([size] * 2), rng(0))
    factor = min(max(scale) / max(size), min(scale) / min(size))
    width, height = (int(side * factor + 0.5) for side in size)
    factors = [np.float32(width / size[0]), np.float32(height / size[1])]
    for before, after in zip(original.frames, clip.frames, strict=True):
        expected = cv2.resize(before.image, (width, height), interpolation=cv2.INTER_LINEAR)
        assert (after.image == expected).all()
        assert after.img_shape == (height, width)
        assert after.scale_factor == tuple(map(float, factors))
        for box, new_box in zip(before.boxes, after.boxes, strict=True):
            limits = np.float32([width, height] * 2)
            assert (new_box == np.clip(box * np.tile(factors, 2), 0, limits)).all()
        assert after.boxes.dtype == after.boxes_ignore.dtype == np.float32
        assert (after.labels == before.labels).all()


@pytest.mark.parametrize(
    ('size', 'scale', 'expected'),
    [
        ((720, 1280), (1000, 600), (562, 999)),  # 562.5 goes to the even side, 999.1 is cut off
        ((1280, 720), (1000, 600), (999, 562)),
        ((719, 1280), (1000, 600), (562, 1000)),  # 561.7 is rounded
        ((333, 500), (1000, 600), (600, 900)),  # 900.9
    ],
)
def test_sizes_of_pillow_are_rounded_as_in_maskrcnn_benchmark(size, scale, expected):
    clip = make_clip([size[::-1]])
    assert transforms.Resize(scale, backend='pillow')(clip, rng(0)).key.img_shape == expected
    factors = tuple(float(np.float32(e / s)) for e, s in zip(expected, size, strict=True))
    assert clip.key.scale_factor == factors[::-1]


def test_one_of_several_scales_is_drawn_for_a_clip():
    resize = transforms.RandomChoiceResize([(64, 32), (32, 16)], keep_ratio=False)
    clips = [resize(make_clip(), rng(seed)) for seed in range(9)]
    assert {frame.img_shape for clip in clips for frame in clip.frames} == {(32, 64), (16, 32)}
    assert all(len({frame.img_shape for frame in clip.frames}) == 1 for clip in clips)


def test_flip_mirrors_all_frames():
    before, clip = (transforms.Resize((100, 60))(make_clip(), rng(0)) for _ in range(2))
    images = [frame.image.copy() for frame in before.frames]
    clip = transforms.RandomFlip(1.0)(clip, rng(0))
    for old, image, new in zip(before.frames, images, clip.frames, strict=True):
        assert (new.image == image[:, ::-1]).all() and new.flip
        width = image.shape[1]
        for (x1, y1, x2, y2), box in zip(old.boxes, new.boxes, strict=True):
            assert box.tolist() == [np.float32(width - x2), y1, np.float32(width - x1), y2]
        assert (new.boxes_ignore[:, 0] == width - old.boxes_ignore[:, 2]).all()


@pytest.mark.parametrize('per_frame', [True, False])
def test_crop_cuts_a_window(per_frame):
    sizes, borders = set(), set()
    for seed in range(100):
        original = make_clip()
        clip = transforms.RandomCrop(20, 50, per_frame)(make_clip(), rng(seed))
        windows = [check_cropped(*pair) for pair in zip(original.frames, clip.frames, strict=True)]
        assert len(set(windows)) == 1 or per_frame
        top, left, height, width = windows[0]
        sizes.add((height, width))
        borders.add((top == 0, top + height == 48, left == 0, left + width == 64))
    heights, widths = zip(*sizes, strict=True)
    assert (min(heights), max(heights)) == (20, 48) and (min(widths), max(widths)) == (20, 50)
    assert all({border[k] for border in borders} == {True, False} for k in range(4))


def check_cropped(before: Frame, after: Frame) -> tuple[int, int, int, int]:
    """Compare with the only window where the image lies in the old one: top, left and sides."""
    height, width = after.image.shape[:2]
    windows = np.lib.stride_tricks.sliding_window_view(before.image, after.image.shape)
    ((top, left, _),) = np.argwhere((windows == after.image).all(axis=(3, 4, 5)))
    assert after.img_shape == (height, width)
    expected = []
    for box, label, number in zip(before.boxes, before.labels, before.instance_ids, strict=True):
        x1, x2 = (min(max(float(x) - left, 0), width) for x in box[::2])
        y1, y2 = (min(max(float(y) - top, 0), height) for y in box[1::2])
        if x2 > x1 and y2 > y1:
            expected.append(([x1, y1, x2, y2], label, number))
    assert after.boxes.tolist() == [box for box, _, _ in expected]
    assert after.labels.tolist() == [label for _, label, _ in expected]
    assert after.instance_ids.tolist() == [number for _, _, number in expected]
    assert len(after.boxes_ignore) <= 2
    return top, left, height, width


def test_padding_to_the_largest_frame():
    clip = make_clip([(30, 20), (10, 25), (30, 25)])
    images = [frame.image for frame in clip.frames]
    for image, frame in zip(images, transforms.PadToLargest()(clip, rng(0)).frames, strict=True):
        expected = np.zeros((25, 30, 3), np.uint8)
        expected[: image.shape[0], : image.shape[1]] = image
        assert (frame.image == expected).all() and frame.img_shape == (25, 30)


@pytest.mark.parametrize(
    ('images', 'rows'),
    [
        ((0, 0, 0), [0, 0, 0]),  # DET: one image is key and reference
        ((0, 1, 0), [0, 1, 0]),
        ((1, 0, 0), [0, 1, 1]),  # the references of a short video
        ((0, 1, 2), None),  # crops of their own: copies of a file differ
    ],
)
def test_pack_keeps_every_distinct_image_once(images, rows):
    clip = make_clip(seeds=images)
    for frame in clip.frames:
        frame.path = 'one file'
    packed = transforms.PackClip()(clip, rng(0))
    assert packed.rows == rows and len(packed.images) == len(set(images))
    assert packed.images.dtype == torch.uint8
    for place, i in enumerate(images):
        assert (packed.images[packed.row_of(place)].numpy() == picture(i, 64, 48)).all()


def test_pack_copies_nothing_where_the_frames_lie_side_by_side():
    clip = transforms.RandomFlip(1.0)(transforms.Resize((100, 60))(make_clip(), rng(0)), rng(0))
    images, memory = [frame.image.copy() for frame in clip.frames], clip.key.image
    packed = transforms.PackClip()(clip, rng(0)).images.numpy()
    assert (packed == np.stack(images)).all() and np.shares_memory(packed, memory)


def test_mistakes():
    with pytest.raises(KeyError, match="Did you mean 'Resize'"):
        transforms.Pipeline([dict(type='Rezise')])
    with pytest.raises(TypeError, match='keep_ratio, scale'):
        transforms.Pipeline([dict(type='Resize', size=1)])
    for make, words in (
        (lambda: transforms.Pipeline(['Resize']), 'a callable'),
        (lambda: transforms.Resize((10, 10), backend='pil'), 'cv2, pillow'),
        (lambda: transforms.Resize(600), 'long side, short side'),
        (lambda: transforms.RandomFlip(1.5), 'prob must be'),
        (lambda: transforms.RandomCrop(10, 5), 'min_size <= max_size'),
        (lambda: transforms.Mosaic(size=0), 'number of pixels, not 0'),
        (lambda: transforms.RandomChoiceResize([]), 'at least one scale'),
        (lambda: transforms.RandomChoice([[], []], prob=[0.5, 0.6]), '2 pipelines needs as many'),
    ):
        with pytest.raises(ValueError, match=words):
            make()
    with pytest.raises(ValueError, match=r'one size, but frame0 is 64x48.*frame1 is 60x48'):
        transforms.PackClip()(make_clip([(64, 48), (60, 48)]), None)
