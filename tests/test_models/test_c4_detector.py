"""The C4 detector of Detectron: each of its options, and the whole against mega.pytorch."""

import naive
import numpy as np
import pytest
import torch
from golden_mega import LENGTH, assert_first, frame, golden_model, matched, prepared
from mmengine.config import Config
from torchvision.ops import roi_align

from mmdet.models.dense_heads import RPNHead
from mmdet.models.necks import ChannelMapper
from mmdet.models.roi_heads.roi_extractor import SingleRoIExtractor
from mmdet.models.task_modules import MaxIoUAssigner, batched_nms
from mmdet.registry import MODELS
from mmdet.structures import Clip

CONFIG = 'configs/vid/faster_rcnn/faster_rcnn_r50_c4_1x.py'


def legacy_iou(a: np.ndarray, b: np.ndarray) -> float:
    """With sides of x2 - x1 + 1."""
    shift = np.array([0, 0, 1, 1])
    return naive.iou(a + shift, b + shift)


def pixel_boxes(n: int, seed: int) -> np.ndarray:
    """Boxes of whole pixels, some of them one pixel wide."""
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 8, (n, 2))
    return np.concatenate([low, low + rng.integers(0, 9, (n, 2))], 1).astype(np.float32)


@pytest.mark.parametrize('threshold', [0.3, 0.5, 0.7])
def test_legacy_suppression_counts_the_last_pixel(threshold):
    boxes, scores = pixel_boxes(60, 0), np.random.default_rng(1).permutation(60) / 60
    kept: list[int] = []
    for i in np.argsort(-scores):
        if all(legacy_iou(boxes[i], boxes[k]) <= threshold + 1e-7 for k in kept):
            kept.append(int(i))
    tensors = torch.from_numpy(boxes)[None], torch.from_numpy(scores).float()[None]
    valid, groups = torch.ones(1, 60, dtype=torch.bool), torch.zeros(1, 60, dtype=torch.long)
    indices, used = batched_nms(*tensors, valid, groups, threshold, 60, legacy=True)
    assert indices[0, used[0]].tolist() == kept
    plain, plain_used = batched_nms(*tensors, valid, groups, threshold, 60)
    assert plain[0, plain_used[0]].tolist() != kept


def test_legacy_assigner_counts_the_last_pixel():
    boxes, gts = pixel_boxes(80, 2), pixel_boxes(4, 3)
    assigner = MaxIoUAssigner(0.5, 0.3, match_low_quality=False, legacy=True)
    ious = np.array([[legacy_iou(b, g) for g in gts] for b in boxes], np.float32)
    expected = np.where(ious.max(1) < 0.3, 0, -1)
    expected = np.where(ious.max(1) >= 0.5, ious.argmax(1) + 1, expected)
    ones = [torch.ones(1, n, dtype=torch.bool) for n in (80, 4)]
    tensors = [torch.from_numpy(x)[None] for x in (boxes, gts)]
    found = assigner.assign(tensors[0], ones[0], tensors[1], ones[1])[0]
    assert found.tolist() == expected.tolist()
    assert len(set(expected.tolist())) > 3


def test_regions_without_the_half_pixel_from_the_second_map():
    feats = tuple(torch.rand(1, 3, 9, 11) for _ in range(2))
    low = torch.rand(1, 5, 2) * 60
    boxes = torch.cat([low, low + torch.rand(1, 5, 2) * 80], dim=2)
    layer = dict(type='RoIAlign', output_size=7, sampling_ratio=0, aligned=False)
    extractor = SingleRoIExtractor(layer, 3, [16], first_map=1)
    expected = roi_align(feats[1], [boxes[0]], 7, 1 / 16, 0, aligned=False)
    assert torch.equal(extractor(feats, boxes)[0], expected)
    assert not torch.equal(extractor(feats[::-1], boxes)[0], expected)


def test_proposals_see_the_maps_they_are_given():
    anchors = dict(type='AnchorGenerator', strides=[16], ratios=[1.0], scales=[4])
    parts = dict(
        anchor_generator=anchors,
        bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True),
        loss_bbox=dict(type='SmoothL1Loss'),
    )
    head = RPNHead(4, 4, **parts, maps=[1])
    feats = torch.rand(1, 8, 2, 2), torch.rand(1, 4, 3, 5)
    logits, _ = head(feats)
    alone = RPNHead(4, 4, **parts)
    alone.load_state_dict(head.state_dict())
    assert torch.equal(logits[0], alone(feats[1:])[0][0])
    assert [len(x) for x in head.anchors(feats)] == [15]


def test_a_neck_that_keeps_its_first_map():
    neck = ChannelMapper([6], 2, kernel_size=1, kept_levels=1)
    c4, c5 = torch.rand(1, 3, 4, 5), torch.rand(1, 6, 4, 5)
    kept, mapped = neck((c4, c5))
    assert kept is c4 and torch.equal(mapped, neck.convs[0](c5))


@pytest.mark.parametrize(
    ('config', 'original'),
    [
        ('faster_rcnn/faster_rcnn_r101_c4_1x.py', 155_864_471),
        ('mega/mega_r50_c4_1x.py', 61_185_735),
        ('mega/mega_r101_c4_1x.py', 172_666_311),
    ],
)
def test_parameters_are_those_of_the_original(repo, config, original):
    with torch.device('meta'):
        model = MODELS.build(Config.fromfile(repo / 'configs/vid' / config).model)
    norms = sum(p.numel() for n, p in model.named_parameters() if 'bn' in n or 'downsample.1' in n)
    boxes_of_background = 4 * (1024 + 1)
    total = sum(p.numel() for p in model.parameters())
    assert total - norms + boxes_of_background == original
    trained = [n for n, p in model.named_parameters() if p.requires_grad]
    assert not any('bn' in n or 'downsample.1' in n or 'layer1' in n for n in trained)
    assert any('backbone.layer4' in n for n in trained)


def test_parts_of_a_frame_equal_the_original(shared, repo):
    model, golden = golden_model(shared, repo / CONFIG, 'base_r50_v12', 'base_r50')
    batch = model.data_preprocessor([prepared(Clip([frame(shared, 1)]))])['batches'][0]
    with torch.inference_mode():
        maps = model.encode(batch.images)
        assert_first(golden, 'f1.feat', maps[0], 1e-4)
        feats = model.feats(maps)
        proposals = model.propose(feats, batch.img_shapes)
        assert proposals.valid.all()
        boxes, scores = golden['f1.rpn.boxes'], golden['f1.rpn.objectness']
        torch.testing.assert_close(proposals.boxes[0], torch.tensor(boxes), atol=0.02, rtol=0)
        torch.testing.assert_close(proposals.scores[0], torch.tensor(scores), atol=1e-4, rtol=0)
        rows = model.roi_head.rows(feats, proposals.boxes)
        logits, deltas, layers = model.roi_head.bbox_head.classify(rows)
        assert_first(golden, 'f1.x_final', layers[-1][0].relu(), 1e-3)
        expected = torch.tensor(golden['f1.cls_logits']).roll(-1, 1)
        assert (logits[0] - expected).abs().max() < 2e-3 * expected.abs().max()
        expected = torch.tensor(golden['f1.bbox_deltas'])[:, 4:]
        # the coder's factors lie in its stds
        assert (deltas[0, :24] - expected).abs().max() < 2e-3 * expected.abs().max()


@pytest.mark.slow
def test_detections_of_all_frames_equal_the_original(shared, repo):
    model, golden = golden_model(shared, repo / CONFIG, 'base_r50_v12', 'base_r50')
    for number in range(LENGTH):
        found, _ = model.step(prepared(Clip([frame(shared, number)])), model.init_state())
        strict, loose = matched(golden, number, found)
        assert strict >= 0.97 and loose >= 0.99, (number, strict, loose)
