import math

import naive
import numpy as np
import pytest
import torch

from mmdet.models.task_modules import DeltaXYWHBBoxCoder

STDS = [(1.0, 1.0, 1.0, 1.0), (0.2, 0.2, 0.2, 0.2), (0.1, 0.1, 0.2, 0.2)]
LARGE = (10_000, 10_000)


def decode(
    coder: DeltaXYWHBBoxCoder, boxes: torch.Tensor, deltas: torch.Tensor, size: tuple[int, int]
) -> torch.Tensor:
    """[N, K, 4] of one image."""
    return coder.decode(boxes[None], deltas[None], torch.tensor([size]))[0]


def random_boxes(n: int, seed: int) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    low = rng.uniform(50, 400, (n, 2))
    return torch.tensor(np.concatenate([low, low + rng.uniform(5, 200, (n, 2))], 1)).float()


def test_encode_by_hand():
    coder = DeltaXYWHBBoxCoder(target_stds=(0.1, 0.1, 0.2, 0.2))
    deltas = coder.encode(
        torch.tensor([[10.0, 20.0, 30.0, 60.0]]), torch.tensor([[15.0, 20.0, 55.0, 40.0]])
    )
    # centre (20, 40) to (35, 30), size 20 x 40 to 40 x 20, without any +1
    expected = [15 / 20 / 0.1, -10 / 40 / 0.1, math.log(2) / 0.2, -math.log(2) / 0.2]
    torch.testing.assert_close(deltas, torch.tensor([expected]))


@pytest.mark.parametrize('stds', STDS)
def test_decode_of_several_images_and_classes_equals_a_loop(stds):
    rng = np.random.default_rng(2)
    proposals = random_boxes(12, 3).reshape(2, 6, 4)
    deltas = torch.tensor(rng.normal(0, 3, (2, 6, 5 * 4))).float()
    sizes = torch.tensor([[300, 420], [250, 180]])
    decoded = DeltaXYWHBBoxCoder(target_stds=stds).decode(proposals, deltas, sizes)
    assert decoded.shape == (2, 6, 5, 4)
    for b, n, k in np.ndindex(2, 6, 5):
        delta = deltas[b, n, 4 * k : 4 * k + 4].double().numpy() * stds
        expected = naive.decode(proposals[b, n].double().numpy(), delta, *sizes[b].tolist())
        np.testing.assert_allclose(decoded[b, n, k].numpy(), expected, atol=2e-3, rtol=1e-5)


def test_means_are_those_of_the_offsets():
    coder = DeltaXYWHBBoxCoder(target_means=(0.1, 0.2, 0.3, 0.4), target_stds=STDS[2])
    box = torch.tensor([[10.0, 20, 30, 60]])
    offset = torch.tensor([[-1.0, -2, -1.5, -2]])  # -mean / std: the box itself
    torch.testing.assert_close(coder.encode(box, box), offset)
    torch.testing.assert_close(decode(coder, box, offset, LARGE)[0], box)
    assert coder.state_dict() == {}


def legacy_decode(box, delta, height, width):
    """Detectron's rule, one number after the other."""
    w, h = box[2] - box[0] + 1, box[3] - box[1] + 1
    x, y = box[0] + 0.5 * w + delta[0] * w, box[1] + 0.5 * h + delta[1] * h
    w, h = w * math.exp(min(delta[2], LIMIT)), h * math.exp(min(delta[3], LIMIT))
    decoded = np.array([x - 0.5 * w, y - 0.5 * h, x + 0.5 * w - 1, y + 0.5 * h - 1])
    return decoded.clip(0, [width - 1, height - 1, width - 1, height - 1])


LIMIT = math.log(1000 / 16)


def test_legacy_decode_equals_a_loop():
    proposals = random_boxes(40, 4)
    deltas = torch.tensor(np.random.default_rng(5).normal(0, 2, (40, 4))).float()
    deltas[:10, 2:] *= 4  # beyond both limits: shrinking has none
    decoded = decode(DeltaXYWHBBoxCoder(legacy=True), proposals, deltas, (300, 420))[:, 0]
    expected = [
        legacy_decode(box, delta, 300, 420)
        for box, delta in zip(proposals.double().numpy(), deltas.double().numpy(), strict=True)
    ]
    np.testing.assert_allclose(decoded.numpy(), np.array(expected), atol=2e-3, rtol=1e-5)
    assert (deltas[:, 2:] < -LIMIT).any()


def test_legacy_sizes_include_the_last_pixel():
    deltas = DeltaXYWHBBoxCoder(legacy=True).encode(
        torch.tensor([[10.0, 20.0, 29.0, 59.0]]), torch.tensor([[15.0, 20.0, 54.0, 39.0]])
    )
    # 20 x 40 at (20, 40) to 40 x 20 at (35, 30)
    expected = [15 / 20, -10 / 40, math.log(2), -math.log(2)]
    torch.testing.assert_close(deltas, torch.tensor([expected]))
