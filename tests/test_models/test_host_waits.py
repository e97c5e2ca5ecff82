"""From images to detections, and from images to losses, nothing makes the host wait for a GPU."""

import pytest
import torch
from host_waits import CountHostWaits, static_nms
from tiny_detector import random_clip, tiny_detector

from mmdet.models.task_modules import nms

KINDS = ['dc5', 'fpn']


@pytest.fixture
def without_the_operator(monkeypatch):
    monkeypatch.setattr(nms, 'sorted_nms', static_nms)


@pytest.mark.parametrize(
    ('wait', 'kind'),
    [
        (lambda x: x.sum().item(), '_local_scalar_dense'),
        (lambda x: float(x[0]), '_local_scalar_dense'),
        (lambda x: bool((x > 0).any()), '_local_scalar_dense'),
        (lambda x: x[x > 0], 'index by a mask'),
        (lambda x: x.masked_select(x > 0), 'masked_select'),
        (lambda x: (x > 0).nonzero(), 'nonzero'),
        (lambda x: x * torch.tensor([1.0, 2.0]), 'lift_fresh'),
        (lambda x: x.new_tensor([1.0]), 'lift_fresh'),
    ],
)
def test_the_counter_sees_every_kind_of_wait(wait, kind):
    x = torch.ones(2)
    with CountHostWaits() as counter:
        wait(x)
    assert counter.waits[kind] >= 1
    with CountHostWaits() as counter:
        x[torch.arange(2)].topk(1).values * 3
    assert counter.total == 0


@pytest.mark.usefixtures('without_the_operator')
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('kind', KINDS)
def test_detecting(kind, dtype):
    model = tiny_detector(kind).prepare(dtype)
    clips = [random_clip((90, 121), seed) for seed in range(2)]
    with torch.inference_mode():
        (batch,) = model.data_preprocessor(clips)['batches']
        model.detect_images(batch.images, batch.img_shapes)  # anchors are made once for a size
        with CountHostWaits() as counter:
            boxes, scores, labels, valid = model.detect_images(batch.images, batch.img_shapes)
    assert not +counter.waits
    assert boxes.shape == (2, 100, 4) and valid.any() and labels.max() > 0 and scores.max() > 0


@pytest.mark.usefixtures('without_the_operator')
@pytest.mark.parametrize('kind', KINDS)
def test_losses(kind):
    model = tiny_detector(kind).train()
    clips = [random_clip((90, 121), seed, num_boxes=2 * seed) for seed in range(2)]
    (batch,) = model.data_preprocessor(clips, training=True)['batches']
    model.loss(batch)
    with CountHostWaits() as counter:
        losses = model.loss(batch)
    assert not +counter.waits
    assert all(torch.isfinite(value) for value in losses.values())
