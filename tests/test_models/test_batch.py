"""The data preprocessor."""

import cv2
import numpy as np
import pytest
import torch
from tiny_detector import random_clip

from mmdet.models.batch import ClipPreprocessor
from mmdet.structures import Clip, Frame

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def with_opencv(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """[3, H, W] as OpenCV computes it in double precision, then zero padding."""
    rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.float64)
    rgb = (rgb - np.array(MEAN)) / np.array(STD)
    height, width = size[0] - image.shape[0], size[1] - image.shape[1]
    padded = cv2.copyMakeBorder(rgb, 0, height, 0, width, cv2.BORDER_CONSTANT, value=0)
    return padded.transpose(2, 0, 1)


def batches_of(*clips: Clip, training: bool = False, **kwargs):
    return ClipPreprocessor(mean=MEAN, std=STD, **kwargs)(list(clips), training)['batches']


def clip_of_images(count: int, size: tuple[int, int], rows: list[int], seed: int = 0) -> Clip:
    """Frames that show `count` distinct images of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, *size, 3), np.uint8)
    return Clip([Frame('x') for _ in rows], images=torch.from_numpy(pixels), rows=rows)


@pytest.mark.parametrize(
    ('size', 'divisor', 'padded'),
    [((90, 121), 16, (96, 128)), ((96, 128), 16, (96, 128)), ((33, 64), 32, (64, 64))],
)
def test_colours_normalisation_and_padding_equal_opencv(size, divisor, padded):
    clip = random_clip(size)
    (batch,) = batches_of(clip, pad_size_divisor=divisor)
    assert batch.images.shape == (1, 3, *padded) and batch.img_shapes.tolist() == [[*size]]
    expected = with_opencv(clip.images[0].numpy(), padded)
    np.testing.assert_allclose(batch.images[0].numpy(), expected, atol=1e-6, rtol=1e-6)


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
    sizes = [(90, 120), (90, 120), (95, 127), (90, 120)]
    rows = [[0, 0, 0], [0, 1, 2], [1, 0, 1], [0]]
    counts = [1, 3, 2, 1]
    clips = [
        clip_of_images(*facts, seed)
        for seed, facts in enumerate(zip(counts, sizes, rows, strict=True))
    ]
    (batch,) = batches_of(*clips)
    assert batch.images.shape == (7, 3, 96, 128) and len(batch) == 4
    for i, clip in enumerate(clips):
        found = batch.rows(i, range(len(clip.frames)))
        assert found[0] == batch.key_rows[i]
        for place, image in enumerate(batch.take(batch.images, found)):
            expected = with_opencv(clip.images[rows[i][place]].numpy(), (96, 128))
            np.testing.assert_allclose(image.numpy(), expected, atol=1e-6, rtol=1e-6)
        assert batch.take(batch.img_shapes, found).tolist() == [[*sizes[i]]] * len(rows[i])


def test_clips_are_never_padded_to_each_other():
    clips = [random_clip(size, seed) for seed, size in enumerate([(90, 120), (60, 90), (95, 127)])]
    large, small = batches_of(*clips)
    assert large.images.shape == (2, 3, 96, 128) and small.images.shape == (1, 3, 64, 96)
    assert large.clips == [clips[0], clips[2]] and small.clips == [clips[1]]
    assert (large.images[0, :, 90:] == 0).all() and (large.images[1, :, :95, :127] != 0).any()


def test_ground_truth_is_that_of_the_key_frame_and_only_in_training():
    clip, empty = random_clip((64, 64), num_boxes=3), random_clip((64, 64), num_boxes=0)
    (batch,) = batches_of(clip, empty, training=True)
    assert batch.gt.valid.tolist() == [[True] * 3, [False] * 3]
    torch.testing.assert_close(batch.gt.boxes[0], torch.from_numpy(clip.key.boxes))
    assert batch.gt.labels[0].tolist() == clip.key.labels.tolist()
    assert batch.gt.labels.dtype == torch.int64 and batch.gt.boxes.dtype == torch.float32
    assert batches_of(empty, training=True)[0].gt.valid.tolist() == [[False]]
    assert batches_of(clip)[0].gt is None


@pytest.mark.parametrize('channels_last', [True, False])
def test_layout_and_type_of_a_prepared_model(channels_last):
    preprocessor, clip = ClipPreprocessor(mean=MEAN, std=STD), random_clip((33, 64))
    (expected,) = preprocessor([clip])['batches']
    preprocessor.dtype, preprocessor.channels_last = torch.bfloat16, channels_last
    (batch,) = preprocessor([clip])['batches']
    assert torch.equal(batch.images, expected.images.bfloat16())
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert batch.images.is_contiguous(memory_format=layout)
    assert batch.img_shapes.dtype == torch.float32
