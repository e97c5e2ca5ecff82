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


@pytest.mark.parametrize(
    ('size', 'divisor', 'padded'),
    [((90, 121), 16, (96, 128)), ((96, 128), 16, (96, 128)), ((33, 64), 32, (64, 64))],
)
def test_colours_normalisation_and_padding_equal_opencv(size, divisor, padded):
    clip = random_clip(size)
    (batch,) = batches_of(clip, pad_size_divisor=divisor)
    assert batch.images.shape == (1, 1, 3, *padded)
    expected = with_opencv(clip.images[0].numpy(), padded)
    np.testing.assert_allclose(batch.key_images[0].numpy(), expected, atol=1e-6, rtol=1e-6)


def test_colour_order_can_stay():
    clip = random_clip((16, 16))
    (batch,) = batches_of(clip, bgr_to_rgb=False)
    blue = (clip.images[0, :, :, 0].float() - MEAN[0]) / STD[0]
    torch.testing.assert_close(batch.key_images[0, 0], blue)


def test_frames_of_a_clip_keep_their_order():
    images = torch.stack([torch.full((16, 16, 3), 40 * t, dtype=torch.uint8) for t in range(4)])
    clip = Clip([Frame('x') for _ in range(4)], images=images)
    (batch,) = batches_of(clip)
    red = batch.images[0, :, 0, 0, 0] * STD[0] + MEAN[0]
    torch.testing.assert_close(red, torch.tensor([0.0, 40, 80, 120]), atol=1e-3, rtol=0)


def test_clips_are_never_padded_to_each_other():
    clips = [random_clip(size, seed) for seed, size in enumerate([(90, 120), (60, 90), (95, 127)])]
    large, small = batches_of(*clips)
    assert large.images.shape == (2, 1, 3, 96, 128) and small.images.shape == (1, 1, 3, 64, 96)
    assert large.clips == [clips[0], clips[2]] and small.clips == [clips[1]]
    assert (large.images[0, :, :, 90:] == 0).all() and (large.images[1, :, :, :95] != 0).any()


def test_ground_truth_is_that_of_the_key_frame_and_only_in_training():
    clip, empty = random_clip((64, 64), num_boxes=3), random_clip((64, 64), num_boxes=0)
    (batch,) = batches_of(clip, empty, training=True)
    torch.testing.assert_close(batch.gts[0].boxes, torch.from_numpy(clip.key.boxes))
    assert batch.gts[0].labels.tolist() == clip.key.labels.tolist()
    assert batch.gts[0].labels.dtype == torch.int64
    assert batch.gts[1].boxes.shape == (0, 4) and batch.gts[1].labels.shape == (0,)
    assert batches_of(clip)[0].gts == []


def test_no_weights():
    assert ClipPreprocessor().state_dict() == {}
