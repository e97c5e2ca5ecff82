"""The data preprocessor."""

import cv2
import numpy as np
import pytest
import torch
from tiny_detector import random_clip

from mmdet.models.batch import ClipPreprocessor
from mmdet.structures import Clip, Frame

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def assert_equal_to_opencv(found: torch.Tensor, image: torch.Tensor) -> None:
    """[3, H, W]: what OpenCV computes in double precision, then zero padding."""
    rgb = cv2.cvtColor(image.numpy(), cv2.COLOR_BGR2RGB).astype(np.float64)
    rgb = (rgb - np.array(MEAN)) / np.array(STD)
    bottom, right = np.array(found.shape[1:]) - rgb.shape[:2]
    rgb = cv2.copyMakeBorder(rgb, 0, bottom, 0, right, cv2.BORDER_CONSTANT, value=0)
    np.testing.assert_allclose(found.numpy(), rgb.transpose(2, 0, 1), atol=1e-6, rtol=1e-6)


def batches_of(*clips: Clip, training: bool = False, **kwargs):
    return ClipPreprocessor(mean=MEAN, std=STD, **kwargs)(list(clips), training)['batches']


@pytest.mark.parametrize(
    ('size', 'divisor', 'padded'),
    [((90, 121), 16, (96, 128)), ((33, 64), 32, (64, 64))],
)
def test_colours_normalisation_and_padding_equal_opencv(size, divisor, padded):
    clip = random_clip(size)
    (batch,) = batches_of(clip, pad_size_divisor=divisor)
    assert batch.images.shape == (1, 3, *padded) and batch.img_shapes.tolist() == [[*size]]
    assert_equal_to_opencv(batch.images[0], clip.images[0])


def test_padding_can_have_a_colour_and_make_a_square():
    clip = random_clip((33, 60))
    (batch,) = batches_of(clip, pad_size_divisor=32, pad_value=114, pad_to_square=True)
    assert batch.images.shape == (1, 3, 64, 64) and batch.img_shapes.tolist() == [[33, 60]]
    grey = (114 - torch.tensor(MEAN)) / torch.tensor(STD)
    for part in (batch.images[0, :, 33:], batch.images[0, :, :, 60:]):
        torch.testing.assert_close(part, grey[:, None, None].expand_as(part))
    (plain,) = batches_of(clip, pad_size_divisor=32)
    assert torch.equal(batch.images[..., :33, :60], plain.images[..., :33, :60])


def test_frames_find_their_images_among_those_of_all_clips():
    """Also where an image serves several frames, and where sizes differ before padding."""
    sizes, clips = [(90, 120), (90, 120), (95, 127), (90, 120)], []
    rng = np.random.default_rng(0)
    for size, rows in zip(sizes, ([0, 0, 0], [0, 1, 2], [1, 0, 1], [0]), strict=True):
        pixels = torch.from_numpy(rng.integers(0, 256, (max(rows) + 1, *size, 3), np.uint8))
        clips.append(Clip([Frame('x') for _ in rows], images=pixels, rows=rows))
    (batch,) = batches_of(*clips)
    assert batch.images.shape == (7, 3, 96, 128) and len(batch) == 4
    for i, clip in enumerate(clips):
        found = batch.rows(i, range(len(clip.frames)))
        assert found[0] == batch.key_rows[i]
        for row, image in zip(clip.rows, batch.take(batch.images, found), strict=True):
            assert_equal_to_opencv(image, clip.images[row])
        assert batch.take(batch.img_shapes, found).tolist() == [[*sizes[i]]] * len(found)


def test_ground_truth_is_that_of_the_key_frame_and_only_in_training():
    clip, empty = random_clip((64, 64), num_boxes=3), random_clip((64, 64), num_boxes=0)
    gt = batches_of(clip, empty, training=True)[0].gt
    assert gt.valid.tolist() == [[True] * 3, [False] * 3]
    torch.testing.assert_close(gt.boxes[0], torch.from_numpy(clip.key.boxes))
    assert gt.labels[0].tolist() == clip.key.labels.tolist()
    assert gt.labels.dtype == torch.int64 and gt.boxes.dtype == torch.float32
    assert batches_of(empty, training=True)[0].gt.valid.tolist() == [[False]]
    assert batches_of(clip)[0].gt is None
