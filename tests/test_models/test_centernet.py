"""CenterNet: targets, losses, peaks and the neck, against literal loops."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dense_parts import lively, one_image, padded, shapes
from host_waits import CountHostWaits
from mmengine.config import Config

from mmdet.models.dense_heads import CenterNetHead
from mmdet.models.dense_heads.centernet_targets import center_targets, gaussian_radius
from mmdet.models.necks import CTResNetNeck
from mmdet.models.necks.ct_resnet_neck import ModulatedDeformConv
from mmdet.registry import MODELS

CLASSES, STRIDE, HEIGHT, WIDTH = 3, 4, 15, 22


def literal_radius(width: float, height: float) -> int:
    """The largest whole move that keeps an IoU of 0.3 in all three ways, by trying."""

    def overlaps(r: float) -> list[float]:
        area = width * height
        inner = max(width - 2 * r, 0) * max(height - 2 * r, 0)
        outer = (width + 2 * r) * (height + 2 * r)
        both = max(width - r, 0) * max(height - r, 0)
        return [inner / area, area / outer, both / (2 * area - both)]

    r = 0
    while min(overlaps(r + 1)) >= 0.3 and r < 200:
        r += 1
    return r


@pytest.mark.parametrize('size', [(3, 3), (10, 4), (20, 30), (1, 1), (50, 7), (128, 100)])
def test_radius_is_the_largest_move_that_keeps_the_overlap(size):
    found = gaussian_radius(torch.tensor(size, dtype=torch.float32)).item()
    assert found == literal_radius(*size)


def objects_of(seed: int, count: int) -> tuple[list, list]:
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 50, (count, 2))
    boxes = np.concatenate([low, low + rng.uniform(3, 36, (count, 2))], axis=1)
    return boxes.clip(0, [88, 60, 88, 60]).tolist(), rng.integers(0, CLASSES, count).tolist()


def literal_heatmap(boxes, labels) -> np.ndarray:
    heatmap = np.zeros((CLASSES, HEIGHT, WIDTH))
    for (x1, y1, x2, y2), label in zip(boxes, labels, strict=True):
        cx, cy = int((x1 + x2) / 2 / STRIDE), int((y1 + y2) / 2 / STRIDE)
        r = literal_radius((x2 - x1) / STRIDE, (y2 - y1) / STRIDE)
        sigma = (2 * r + 1) / 6
        for i in range(max(cy - r, 0), min(cy + r + 1, HEIGHT)):
            for j in range(max(cx - r, 0), min(cx + r + 1, WIDTH)):
                value = math.exp(-((i - cy) ** 2 + (j - cx) ** 2) / (2 * sigma**2))
                heatmap[label, i, j] = max(heatmap[label, i, j], value)
    return heatmap


def targets(gt):
    return center_targets(gt, (HEIGHT, WIDTH), STRIDE, CLASSES)


@pytest.mark.parametrize('counts', [(1, 6), (0, 3), (12, 12)])
def test_heatmaps_equal_a_loop(counts):
    objects = [objects_of(seed, count) for seed, count in enumerate(counts)]
    found = targets(padded([o[0] for o in objects], [o[1] for o in objects])).heatmap
    for heatmap, (boxes, labels) in zip(found, objects, strict=True):
        np.testing.assert_allclose(heatmap, literal_heatmap(boxes, labels), rtol=1e-4, atol=1e-6)
        assert (heatmap == 1).sum() <= len(boxes)


def test_of_objects_in_one_cell_the_last_is_learnt():
    boxes = [[0, 0, 40, 40], [10, 10, 30, 30], [5, 5, 80, 50], [12, 12, 28, 28]]
    found = targets(padded([boxes], [[0, 1, 2, 0]]))
    assert found.learnt.tolist() == [[False, False, True, True]]
    assert found.cells[0].tolist() == [5 * WIDTH + 5, 5 * WIDTH + 5, 6 * WIDTH + 10, 5 * WIDTH + 5]
    assert found.sizes[0, 2].tolist() == [75 / 4, 45 / 4]
    assert found.offsets[0, 2].tolist() == pytest.approx([42.5 / 4 - 10, 27.5 / 4 - 6])


def head() -> CenterNetHead:
    test_cfg = dict(score_thr=0.0, max_per_img=12)
    model = lively(CenterNetHead(CLASSES, 8, 8, test_cfg=test_cfg), std=1.0)
    torch.nn.init.constant_(model.wh_out.bias, 4.0)
    return model


def feature(images: int = 2, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(images, 8, HEIGHT, WIDTH, generator=generator),)


def literal_losses(logits, sizes, offsets, boxes, labels) -> dict[str, float]:
    wanted = literal_heatmap(boxes, labels)
    probability = 1 / (1 + np.exp(-logits))
    peaks = max(int((wanted == 1).sum()), 1)
    positive = (-np.log(probability) * (1 - probability) ** 2)[wanted == 1].sum()
    negative = (-np.log(1 - probability) * probability**2 * (1 - wanted) ** 4)[wanted < 1].sum()
    cells = {}
    for x1, y1, x2, y2 in boxes:
        cx, cy = (x1 + x2) / 2 / STRIDE, (y1 + y2) / 2 / STRIDE
        cells[int(cy), int(cx)] = ((x2 - x1) / STRIDE, (y2 - y1) / STRIDE, cx, cy)
    size = offset = 0.0
    for (i, j), (w, h, cx, cy) in cells.items():
        size += abs(sizes[0, i, j] - w) + abs(sizes[1, i, j] - h)
        offset += abs(offsets[0, i, j] - (cx - j)) + abs(offsets[1, i, j] - (cy - i))
    return dict(
        loss_heatmap=(positive + negative) / peaks,
        loss_wh=0.1 * size / (2 * peaks),
        loss_offset=offset / (2 * peaks),
    )


def test_losses_equal_a_loop_and_a_batch_is_the_mean_of_its_images():
    model, feats = head(), feature()
    objects = [objects_of(0, 3), objects_of(1, 8)]
    gt = padded([o[0] for o in objects], [o[1] for o in objects])
    outputs = [x.detach().double().numpy() for x in model(feats)]
    expected = [literal_losses(*(x[i] for x in outputs), *objects[i]) for i in (0, 1)]
    found = model.losses(feats, gt, shapes(2))
    for name, value in found.items():
        mean = (expected[0][name] + expected[1][name]) / 2
        assert value.item() == pytest.approx(mean, rel=1e-4), name
    single = model.losses((feats[0][1:],), one_image(gt, 1), shapes(1))
    assert single['loss_wh'].item() == pytest.approx(expected[1]['loss_wh'], rel=1e-4)


def test_without_objects_every_parameter_still_has_a_gradient():
    model = head()
    losses = model.losses(feature(), padded([[], []], [[], []]), shapes(2))
    assert losses['loss_wh'].item() == losses['loss_offset'].item() == 0
    sum(losses.values()).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


@torch.no_grad()
def test_detections_are_the_best_peaks():
    model, feats = head(), feature()
    found = model.find(feats, shapes(2)).detections
    logits, sizes, offsets = (x.double().numpy() for x in model(feats))
    for b in range(2):
        peaks = []
        for c in range(CLASSES):
            for i in range(HEIGHT):
                for j in range(WIDTH):
                    around = logits[b, c, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2]
                    if logits[b, c, i, j] == around.max():
                        peaks.append((1 / (1 + math.exp(-logits[b, c, i, j])), c, i, j))
        best = sorted(peaks, reverse=True)[:12]
        assert len(peaks) > 12 and found.valid[b].all()
        for row, (score, c, i, j) in enumerate(best):
            x, y = j + offsets[b, 0, i, j], i + offsets[b, 1, i, j]
            w, h = sizes[b, :, i, j]
            box = [(x - w / 2) * 4, (y - h / 2) * 4, (x + w / 2) * 4, (y + h / 2) * 4]
            assert found.scores[b, row].item() == pytest.approx(score, rel=1e-4)
            assert found.labels[b, row] == c
            np.testing.assert_allclose(found.boxes[b, row], box, rtol=1e-4, atol=1e-3)


@torch.no_grad()
def test_other_maps_for_classes_leave_boxes_alone():
    model, feats, others = head(), feature(), feature(seed=4)
    mixed, plain, other = model(feats, others), model(feats), model(others)
    assert torch.equal(mixed[0], other[0]) and torch.equal(mixed[1], plain[1])


def test_nothing_makes_the_host_wait():
    model, feats = head(), feature()
    gt = padded([objects_of(0, 3)[0], []], [objects_of(0, 3)[1], []])
    sizes = shapes(2)
    with CountHostWaits() as counter:
        model.find(feats, sizes)
        model.losses(feats, gt, sizes)
    assert not +counter.waits


@torch.no_grad()
def test_deformed_convolution_equals_bilinear_samples():
    torch.manual_seed(0)
    conv, x = ModulatedDeformConv(2, 3), torch.randn(1, 2, 5, 6)
    torch.nn.init.normal_(conv.conv_offset.weight, std=0.3)
    shifts = conv.conv_offset(x)[0]
    wide = F.pad(x[0], (8, 8, 8, 8)).numpy()

    def sample(y: float, x: float) -> np.ndarray:
        y0, x0 = math.floor(y), math.floor(x)
        value = np.zeros(2)
        for i, wy in ((y0, 1 - (y - y0)), (y0 + 1, y - y0)):
            for j, wx in ((x0, 1 - (x - x0)), (x0 + 1, x - x0)):
                value += wy * wx * wide[:, i + 8, j + 8]
        return value

    found = conv(x)[0]
    for i in range(5):
        for j in range(6):
            total = np.zeros(3)
            for k in range(9):
                y = i + k // 3 - 1 + shifts[2 * k, i, j].item()
                column = j + k % 3 - 1 + shifts[2 * k + 1, i, j].item()
                weight = conv.weight[:, :, k // 3, k % 3].numpy()
                total += torch.sigmoid(shifts[18 + k, i, j]).item() * weight @ sample(y, column)
            np.testing.assert_allclose(found[:, i, j], total, rtol=1e-4, atol=1e-5)


def test_neck_has_the_names_of_the_released_one_and_eight_times_the_side():
    neck = CTResNetNeck(16, (8, 4))
    names = {name.rsplit('.', 1)[0] for name in neck.state_dict()}
    assert names == {
        *(f'deconv_layers.{i}.bn' for i in range(4)),
        *(f'deconv_layers.{i}.conv' for i in range(4)),
        *(f'deconv_layers.{i}.conv.conv_offset' for i in (0, 2)),
    }
    assert neck.deconv_layers[0].conv.conv_offset.weight.shape[0] == 27
    (out,) = CTResNetNeck(16, (8, 4, 2))((torch.rand(1, 16, 3, 5),))
    assert out.shape == (1, 2, 24, 40)


@torch.no_grad()
def test_first_channel_of_upsampling_starts_as_bilinear_interpolation():
    conv = CTResNetNeck(4, (2,)).deconv_layers[1].conv
    x = torch.randn(1, 2, 6, 7)
    expected = F.interpolate(x.sum(1, keepdim=True), scale_factor=2, mode='bilinear')
    inner = conv(x)[:, :1, 1:-1, 1:-1]
    torch.testing.assert_close(inner, expected[:, :, 1:-1, 1:-1], rtol=1e-5, atol=1e-5)


def test_number_of_parameters_of_the_released_r101(repo):
    cfg = Config.fromfile(repo / 'configs/_base_/models/centernet_r101.py').model
    with torch.device('meta'):
        model = MODELS.build(cfg)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == 49.67
