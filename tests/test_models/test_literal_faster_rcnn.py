"""The whole detector against one written out in loops, from the maps of the neck on.

The detector's own network layers are used (their oracles are in test_resnet, test_necks and
test_bbox_head); anchors, proposals, assignment, targets, losses, region features, decoding and
suppression are computed box by box in double precision.
"""

import math

import naive
import numpy as np
import pytest
import torch
from tiny_detector import losses_of, random_clip, tiny_config, tiny_detector

from mmdet.models.detectors import FasterRCNN

SIZES = {'dc5': (150, 201), 'fpn': (90, 121)}  # room for the anchors, few of them
CLASSES = 30


class Literal:
    """A detector's network and config, evaluated on one clip."""

    def __init__(self, kind: str, model: FasterRCNN, clip) -> None:
        self.cfg, self.size = tiny_config(kind), clip.key.img_shape
        self.model, self.head = model, model.roi_head.bbox_head
        self.batch = model.data_preprocessor([clip], training=True)['batches'][0]
        with torch.no_grad():
            self.feats = model.feats(model.encode(self.batch.images))
        self.gts = clip.key.boxes.astype(np.float64)
        self.labels = clip.key.labels
        self.stds = np.array(self.cfg.roi_head.bbox_head.bbox_coder.target_stds)

    def anchors(self, level: int) -> np.ndarray:
        settings = self.cfg.rpn_head.anchor_generator
        stride, (height, width) = settings.strides[level], self.feats[level].shape[2:]
        shapes = [(scale, ratio**0.5) for ratio in settings.ratios for scale in settings.scales]
        rows = []
        for y, x, k in np.ndindex(height, width, len(shapes)):
            (scale, root), corner = shapes[k], np.array([x, y]) * stride
            half = np.array([stride * scale / root, stride * scale * root]) / 2
            rows.append([*(corner - half), *(corner + half)])
        return np.array(rows)

    @torch.no_grad()
    def rpn(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """(logits, offsets, anchors) of every level."""
        rpn, levels = self.model.rpn_head, []
        for i, feat in enumerate(self.feats):
            hidden = rpn.rpn_conv(feat).relu()
            outputs = (
                x(hidden)[0].movedim(0, 2).double().numpy() for x in (rpn.rpn_cls, rpn.rpn_reg)
            )
            logits, deltas = outputs
            levels.append((logits.flatten(), deltas.reshape(-1, 4), self.anchors(i)))
        return levels

    def proposals(self, cfg: dict) -> np.ndarray:
        cfg = {'min_bbox_size': 0, **cfg}
        scored = [(1 / (1 + np.exp(-logits)), d, a) for logits, d, a in self.rpn()]
        return naive.propose(scored, self.size, cfg)

    @torch.no_grad()
    def classify(self, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits [N, 31] and offsets [N, 30, 4], already multiplied by the stds."""
        extractor = self.cfg.roi_head.bbox_roi_extractor
        rows = []
        for box in boxes:
            side = math.sqrt((box[2] - box[0]) * (box[3] - box[1]))
            level = math.floor(math.log2(side / 56 + 1e-6))
            level = min(max(level, 0), len(extractor.featmap_strides) - 1)
            feature = self.feats[level][0].double().numpy()
            stride = extractor.featmap_strides[level]
            rows.append(naive.roi_align(feature, box, stride, extractor.roi_layer.sampling_ratio))
        rows = self.head.first_layer(torch.tensor(np.array(rows)).float()[None])
        logits, deltas = (x[0] for x in self.head.classify(rows)[:2])
        deltas = deltas.reshape(-1, CLASSES, 4).double().numpy() * self.stds
        return logits.double().numpy(), deltas

    def detections(self) -> list[tuple[float, int, np.ndarray]]:
        """(score, class, box), best first."""
        proposals = self.proposals(self.cfg.test_cfg.rpn)[:, :4]
        logits, deltas = self.classify(proposals)
        scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        found, cfg = [], self.cfg.test_cfg.rcnn
        for c in range(CLASSES):
            rows = [n for n in range(len(proposals)) if scores[n, c] > cfg.score_thr]
            boxes = np.array([naive.decode(proposals[n], deltas[n, c], *self.size) for n in rows])
            for i in naive.nms(boxes, scores[rows, c], cfg.nms.iou_threshold):
                found.append((scores[rows[i], c], c, boxes[i]))
        return sorted(found, key=lambda d: -d[0])[: cfg.max_per_img]

    def rpn_losses(self) -> tuple[float, float]:
        levels, cfg = self.rpn(), self.cfg.train_cfg.rpn
        logits, deltas, anchors = (np.concatenate(parts) for parts in zip(*levels, strict=True))
        if cfg.allowed_border >= 0:
            inside = (anchors[:, :2] >= 0).all(axis=1)
            inside &= (anchors[:, 2] < self.size[1]) & (anchors[:, 3] < self.size[0])
            logits, deltas, anchors = logits[inside], deltas[inside], anchors[inside]
        assigned = naive.assign(anchors, self.gts, **without_type(cfg.assigner))
        cls = bbox = 0.0
        for logit, delta, anchor, k in zip(logits, deltas, anchors, assigned, strict=True):
            if k == 0:
                cls += math.log1p(math.exp(logit))
            elif k > 0:
                cls += math.log1p(math.exp(-logit))
                bbox += naive.smooth_l1(delta - naive.encode(anchor, self.gts[k - 1]), 1 / 9)
        divisor = max((assigned > 0).sum(), 1) + max((assigned == 0).sum(), 1)
        return cls / divisor, bbox / divisor

    def roi_losses(self) -> tuple[float, float]:
        proposals = self.proposals(self.cfg.train_cfg.rpn_proposal)[:, :4]
        assigner = without_type(self.cfg.train_cfg.rcnn.assigner)
        assigned = naive.assign(proposals, self.gts, **assigner)
        boxes = np.concatenate([self.gts, proposals])
        assigned = np.concatenate([np.arange(len(self.gts)) + 1, assigned])
        boxes, assigned = boxes[assigned >= 0], assigned[assigned >= 0]
        logits, deltas = self.classify(boxes)
        beta, cls, bbox = self.cfg.roi_head.bbox_head.loss_bbox.beta, 0.0, 0.0
        for n, k in enumerate(assigned):
            label = self.labels[k - 1] if k else CLASSES
            cls += math.log(np.exp(logits[n]).sum()) - logits[n, label]
            if k:
                difference = deltas[n, label] - naive.encode(boxes[n], self.gts[k - 1])
                bbox += naive.smooth_l1(difference / self.stds, beta)
        return cls / len(boxes), bbox / len(boxes)


def without_type(cfg: dict) -> dict:
    return {name: value for name, value in cfg.items() if name != 'type'}


@pytest.mark.parametrize('num_boxes', [3, 0])
@pytest.mark.parametrize('kind', SIZES)
def test_losses_equal_the_literal_detector(kind, num_boxes):
    model = tiny_detector(kind, unlimited=True)
    clip = random_clip(SIZES[kind], seed=5, num_boxes=num_boxes)
    literal = Literal(kind, model, clip)
    expected = [*literal.rpn_losses(), *literal.roi_losses()]
    found = losses_of(model, clip)
    names = ('loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox')
    assert [found[name].item() for name in names] == pytest.approx(expected, rel=1e-4)
    assert num_boxes == 0 or min(expected) > 1e-4


@pytest.mark.parametrize('kind', SIZES)
def test_detections_equal_the_literal_detector(kind):
    model, clip = tiny_detector(kind), random_clip(SIZES[kind], seed=6)
    expected = Literal(kind, model, clip).detections()
    found, _ = model.step(clip, model.init_state())
    assert len(found) == len(expected) > 20
    np.testing.assert_allclose(found.scores.numpy(), [d[0] for d in expected], rtol=1e-3)
    rows = np.concatenate([found.labels[:, None].numpy() * 1e4, found.boxes.numpy()], axis=1)
    wanted = np.array([[label * 1e4, *box] for _, label, box in expected])
    distance = np.abs(rows[:, None] - wanted[None]).max(axis=2).min(axis=0)
    assert (distance < 0.05).mean() > 0.95  # of nearly equal scores another one may be kept
