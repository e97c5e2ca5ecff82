"""A model made ready for testing finds what it found before, in the types that were asked for."""

import pytest
import torch
from test_fold import with_statistics
from tiny_detector import random_clip, tiny_detector
from torch import nn

from mmdet.models.detectors import FasterRCNN
from mmdet.models.static import StaticPart

KINDS = ['dc5', 'fpn']
DECIDING = {
    'rpn_head': ('rpn_cls', 'rpn_reg', 'bbox_coder', 'anchor_generator'),
    'roi_head.bbox_head': ('fc_cls', 'fc_reg', 'bbox_coder'),
}


def detector(kind: str) -> FasterRCNN:
    return with_statistics(tiny_detector(kind))


def outputs(model: FasterRCNN) -> list[torch.Tensor]:
    """Neck maps, and what the heads say of two boxes."""
    with torch.inference_mode():
        (batch,) = model.data_preprocessor([random_clip((90, 121), seed=2)])['batches']
        feats = model.feats(model.encode(batch.images))
        logits, deltas = model.rpn_head(feats)
        boxes = torch.tensor([[[3.0, 4, 60, 70], [20, 10, 110, 80]]])
        regions = model.roi_head.bbox_head.classify(model.roi_head.rows(feats, boxes))[:2]
    return [*feats, *logits, *deltas, *regions]


@pytest.mark.parametrize('fold_bn', [True, False])
@pytest.mark.parametrize('channels_last', [True, False, None])
@pytest.mark.parametrize('kind', KINDS)
def test_folded_and_in_another_layout_it_computes_the_same(kind, channels_last, fold_bn):
    expected = outputs(detector(kind))
    model = detector(kind).prepare(channels_last=channels_last, fold_bn=fold_bn)
    assert any(isinstance(m, nn.BatchNorm2d) for m in model.modules()) != fold_bn
    weight = model.backbone.layer2[0].conv1.weight
    last = channels_last is not False  # the default of a CPU
    assert weight.is_contiguous(memory_format=torch.channels_last) == last
    for found, wanted in zip(outputs(model), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4 * wanted.abs().max().item())


@pytest.mark.parametrize('fold_bn', [True, False])
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('kind', KINDS)
def test_layers_that_decide_boxes_and_scores_stay_float32(kind, dtype, fold_bn):
    model = detector(kind).prepare(dtype, fold_bn=fold_bn)
    exempt = set()
    for head, layers in DECIDING.items():
        head = model.get_submodule(head)
        assert set(layers) == set(head.float32_layers)
        exempt |= {id(p) for layer in layers for p in getattr(head, layer).parameters()}
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    exempt |= {id(p) for norm in norms for p in norm.parameters()}
    assert len(exempt) == 8 + 2 * len(norms) and bool(norms) != fold_bn
    for name, parameter in model.named_parameters():
        assert parameter.dtype == (torch.float32 if id(parameter) in exempt else dtype), name
    assert all(b.dtype == torch.float32 for b in model.buffers() if b.is_floating_point())


@pytest.mark.parametrize('kind', KINDS)
def test_bfloat16_gives_float32_boxes_next_to_the_exact_ones(kind):
    exact, model = detector(kind), detector(kind).prepare(torch.bfloat16)
    *_, expected_logits, expected_deltas = outputs(exact)
    *_, logits, deltas = outputs(model)
    for found, wanted in ((logits, expected_logits), (deltas, expected_deltas)):
        assert found.dtype == torch.float32
        assert ((found - wanted).norm() / wanted.norm()).item() < 0.05  # 8 bits, 20 layers
        assert not torch.equal(found, wanted)
    (batch,) = model.data_preprocessor([random_clip(seed=2)])['batches']
    assert batch.images.dtype == torch.bfloat16
    with torch.inference_mode():
        found = model.detect_batch(batch, [model.init_state()])
    assert found.boxes.dtype == found.scores.dtype == torch.float32
    detections, _ = model.step(random_clip(seed=2), model.init_state())
    assert detections.boxes.dtype == detections.scores.dtype == torch.float32
    assert not torch.equal(detections.boxes, detections.boxes.bfloat16().float())


def test_no_graphs_without_a_gpu_and_none_after_training_starts():
    model = detector('dc5').prepare(graphs=True)
    assert not model.graphs and not model.training
    model.graphs = True
    model._static_parts = {'detect_images': StaticPart(id)}
    model.train()
    assert not model.graphs and not model._static_parts
