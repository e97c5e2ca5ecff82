import math

import naive
import numpy as np
import pytest
import torch

from mmdet.models.task_modules import DeltaXYWHBBoxCoder

STDS = [(1.0, 1.0, 1.0, 1.0), (0.2, 0.2, 0.2, 0.2), (0.1, 0.1, 0.2, 0.2)]
LARGE = (10_000, 10_000)


def random_boxes(n: int, seed: int) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    low = rng.uniform(50, 400, (n, 2))
    return torch.tensor(np.concatenate([low, low + rng.uniform(5, 200, (n, 2))], 1)).float()


@pytest.mark.parametrize('stds', STDS)
def test_decode_inverts_encode(stds):
    coder = DeltaXYWHBBoxCoder(target_stds=stds)
    proposals, targets = random_boxes(50, 0), random_boxes(50, 1)
    decoded = coder.decode(proposals, coder.encode(proposals, targets), LARGE)[:, 0]
    torch.testing.assert_close(decoded, targets, atol=1e-3, rtol=1e-5)


def test_encode_by_hand():
    coder = DeltaXYWHBBoxCoder(target_stds=(0.1, 0.1, 0.2, 0.2))
    deltas = coder.encode(
        torch.tensor([[10.0, 20.0, 30.0, 60.0]]), torch.tensor([[15.0, 20.0, 55.0, 40.0]])
    )
    # centre (20, 40) to (35, 30), size 20 x 40 to 40 x 20, without any +1
    expected = [15 / 20 / 0.1, -10 / 40 / 0.1, math.log(2) / 0.2, -math.log(2) / 0.2]
    torch.testing.assert_close(deltas, torch.tensor([expected]))


@pytest.mark.parametrize('stds', STDS)
def test_decode_of_several_classes_equals_a_loop(stds):
    rng = np.random.default_rng(2)
    proposals = random_boxes(6, 3)
    deltas = torch.tensor(rng.normal(0, 3, (6, 5 * 4))).float()
    decoded = DeltaXYWHBBoxCoder(target_stds=stds).decode(proposals, deltas, (300, 420))
    assert decoded.shape == (6, 5, 4)
    for n in range(6):
        for k in range(5):
            delta = deltas[n, 4 * k : 4 * k + 4].double().numpy() * stds
            expected = naive.decode(proposals[n].double().numpy(), delta, 300, 420)
            np.testing.assert_allclose(decoded[n, k].numpy(), expected, atol=2e-3, rtol=1e-5)


@pytest.mark.parametrize(('log_ratio', 'factor'), [(100.0, 1000 / 16), (-100.0, 16 / 1000)])
def test_sides_change_at_most_62_5_times(log_ratio, factor):
    box, delta = (
        torch.tensor([[500.0, 500, 510, 520]]),
        torch.tensor([[0, 0, log_ratio, log_ratio]]),
    )
    decoded = DeltaXYWHBBoxCoder().decode(box, delta, LARGE)[0, 0]
    expected = torch.tensor(
        [505 - 5 * factor, 510 - 10 * factor, 505 + 5 * factor, 510 + 10 * factor]
    )
    torch.testing.assert_close(decoded, expected.clamp(min=0), atol=1e-3, rtol=1e-6)


def test_shifts_have_no_limit_but_the_image_whose_border_belongs_to_it():
    box, delta = torch.tensor([[10.0, 10, 20, 20]]), torch.tensor([[90.0, 90, 0, 0]])
    free = DeltaXYWHBBoxCoder().decode(box, delta, LARGE)[0, 0]
    assert free.tolist() == [910, 910, 920, 920]
    clipped = DeltaXYWHBBoxCoder().decode(box, delta, (50, 80))[0, 0]
    assert clipped.tolist() == [80, 50, 80, 50]  # (height, width), not one less


def test_no_proposals():
    coder = DeltaXYWHBBoxCoder()
    assert coder.encode(torch.zeros(0, 4), torch.zeros(0, 4)).shape == (0, 4)
    assert coder.decode(torch.zeros(0, 4), torch.zeros(0, 30 * 4), LARGE).shape == (0, 30, 4)
