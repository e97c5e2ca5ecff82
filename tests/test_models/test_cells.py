"""Cells in boxes and attention for these alone, against literal loops."""

import numpy as np
import pytest
import torch

from mmdet.models.aggregators import SelsaAggregator
from mmdet.models.contexts.cells import attend_in, cells_in_boxes, numbered

HEIGHT, WIDTH, STRIDE = 6, 9, 8


def literal(boxes: list[list[float]], ratio: float = 1.0) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    for x1, y1, x2, y2 in boxes:
        cx, cy, w, h = (x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) * ratio, (y2 - y1) * ratio
        for i in range(HEIGHT):
            for j in range(WIDTH):
                x, y = (j + 0.5) * STRIDE, (i + 0.5) * STRIDE
                mask[i, j] |= abs(x - cx) <= w / 2 and abs(y - cy) <= h / 2
        row, column = int(cy / STRIDE), int(cx / STRIDE)
        mask[min(max(row, 0), HEIGHT - 1), min(max(column, 0), WIDTH - 1)] = True
    return mask


def found(boxes: list[list[float]], ratio: float = 1.0, valid: list[bool] | None = None):
    given = torch.tensor(boxes, dtype=torch.float32).reshape(1, -1, 4)
    used = torch.tensor([valid or [True] * len(boxes)], dtype=torch.bool)
    mask = cells_in_boxes(given, used, (HEIGHT, WIDTH), STRIDE, ratio)
    return mask.view(HEIGHT, WIDTH).numpy()


@pytest.mark.parametrize('ratio', [0.5, 0.8, 1.0, 1.5])
def test_masks_equal_a_loop_over_cells(ratio):
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 60, (30, 2))
    boxes = np.concatenate([low, low + rng.uniform(1, 30, (30, 2))], axis=1)
    boxes = boxes.clip(0, [72, 48, 72, 48])
    sizes = set()
    for i in range(0, 30, 3):
        expected = literal(boxes[i : i + 3].tolist(), ratio)
        assert (found(boxes[i : i + 3].tolist(), ratio) == expected).all()
        sizes.add(int(expected.sum()))
    assert len(sizes) > 2


@pytest.mark.parametrize(('box', 'cells'), [
    ([9, 9, 10, 10], {(1, 1)}),  # inside of a cell, away from its centre
    ([12, 12, 20, 12], {(1, 1), (1, 2)}),  # both ends of the border count
    ([60, 30, 72, 48], {(4, 8), (5, 8), (4, 7), (5, 7)}),  # to the right and bottom edge
    ([72, 48, 72, 48], {(5, 8)}),  # nothing but the corner of the image
    ([-30, -30, -20, -20], {(0, 0)}),  # outside
])  # fmt: skip
def test_cells_of_a_box(box, cells):
    assert set(zip(*np.nonzero(found([box])), strict=True)) == cells


def test_boxes_that_do_not_exist_have_no_cells():
    boxes = [[0, 0, 72, 48], [8, 8, 24, 24]]
    assert (found(boxes, valid=[False, True]) == literal(boxes[1:])).all()
    assert not found(boxes, valid=[False, False]).any()
    assert not found([]).any()


def test_a_scaled_box_has_the_square_of_the_scale_of_the_cells():
    fine = torch.tensor([[[0.0, 0.0, 1000.0, 1000.0]]])
    mask = cells_in_boxes(fine, torch.ones(1, 1, dtype=torch.bool), (1000, 1000), 1, 0.8)
    assert mask.sum().item() == 800 * 800


def test_numbered_lists_the_cells_of_a_mask():
    mask = torch.tensor([[0, 1, 0, 1, 1], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0]]).bool()
    numbers, used = numbered(mask, None)
    assert numbers.tolist() == [[1, 3, 4], [3, 0, 0], [0, 0, 0]]
    assert used.sum(1).tolist() == [3, 1, 0]
    assert numbered(mask[2:], None)[1].tolist() == [[False]]
    numbers, used = numbered(mask, 2)
    assert numbers.tolist() == [[1, 3], [3, 0], [0, 0]] and used.sum().item() == 3


@pytest.fixture
def aggregator() -> SelsaAggregator:
    torch.manual_seed(0)
    return SelsaAggregator(16, 4)


X = torch.randn(2, 16, 3, 5, generator=torch.Generator().manual_seed(1))
REFS = torch.randn(2, 7, 16, generator=torch.Generator().manual_seed(2))
ALL = torch.ones(2, 7, dtype=torch.bool)


@torch.no_grad()
def test_cells_of_the_mask_take_from_the_keys_and_others_stay(aggregator):
    mask = torch.rand(2, 15, generator=torch.Generator().manual_seed(3)) < 0.4
    valid = ALL.clone()
    valid[1, 3:] = False
    out = attend_in(aggregator, X, mask, aggregator.project(REFS), valid)
    for b in range(2):
        refs = REFS[b][valid[b]]
        for n in range(15):
            row = X[b].flatten(1)[:, n]
            expected = row
            if mask[b, n]:
                mixed = 0
                q, k, v = (
                    layer(x).unflatten(-1, (4, 4))
                    for layer, x in ((aggregator.fc_embed, row), (aggregator.ref_fc_embed, refs),
                                     (aggregator.ref_fc, refs))
                )  # fmt: skip
                weights = torch.einsum('hd,mhd->hm', q, k).div(2).softmax(1)
                mixed = torch.einsum('hm,mhd->hd', weights, v).flatten()
                expected = row + aggregator.fc(mixed)
            torch.testing.assert_close(out[b].flatten(1)[:, n], expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_an_empty_mask_or_no_key_changes_no_bit(aggregator):
    keys, full = aggregator.project(REFS), torch.ones(2, 15, dtype=torch.bool)
    assert torch.equal(attend_in(aggregator, X, ~full, keys, ALL), X)
    assert torch.equal(attend_in(aggregator, X, full, keys, ~ALL), X)
    one = torch.cat([full[:1], ~full[:1]])
    out = attend_in(aggregator, X, one, keys, ALL)
    assert torch.equal(out[1], X[1]) and not torch.equal(out[0], X[0])


@torch.no_grad()
def test_a_full_mask_is_attention_of_all_cells(aggregator):
    full = torch.ones(2, 15, dtype=torch.bool)
    cells = X.flatten(2).transpose(1, 2)
    expected = (cells + aggregator(cells, REFS)).transpose(1, 2).view_as(X)
    out = attend_in(aggregator, X, full, aggregator.project(REFS), ALL)
    torch.testing.assert_close(out, expected)


def test_weights_have_a_gradient_without_any_cell_in_a_mask(aggregator):
    mask = torch.zeros(2, 15, dtype=torch.bool)
    attend_in(aggregator, X, mask, aggregator.project(REFS), ALL).sum().backward()
    assert all((p.grad == 0).all() for p in aggregator.parameters())
