"""SELSA on STPN against a literal implementation in double precision; its data and its sizes.

What holds for every video method is in test_video_methods.py.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from literal_parts import image_of
from mmengine.config import Config
from naive_stpn_selsa import LiteralStpnSelsa
from tiny_video_models import (
    adaptive_clips,
    clip_of_frames,
    losses_of,
    planned_clips,
    run,
    tiny_config,
    tiny_model,
    training_batch,
    training_clips,
    unlimited,
    video_frames,
)

from mmdet.models.batch import ClipBatch
from mmdet.models.vid import STPNSelsa
from mmdet.plans import sampler_plan
from mmdet.registry import MODELS
from mmdet.structures import Clip, Detections

CONFIGS = Path(__file__).resolve().parents[2] / 'configs/vid/stpn'
LOSSES = ('loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox')
EXTRA = pytest.mark.parametrize('extra_frames', [True, False])


@pytest.fixture
def double_model(monkeypatch):
    """Makes a model that computes everything in double precision and samples every region."""
    monkeypatch.setattr(torch.Tensor, 'float', torch.Tensor.double)
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)

    def make(**changes) -> STPNSelsa:
        detector = unlimited(tiny_config('stpn_selsa')).detector
        model = tiny_model('stpn_selsa', detector=detector, **changes).double()
        model.data_preprocessor.register_forward_hook(in_double)
        return model

    yield make
    torch.set_default_dtype(usual)


def in_double(module, args, out) -> dict:
    def convert(batch: ClipBatch) -> ClipBatch:
        gt = batch.gt and replace(batch.gt, boxes=batch.gt.boxes.double())
        images, shapes = batch.images.double(), batch.img_shapes.double()
        return replace(batch, images=images, img_shapes=shapes, gt=gt)

    return dict(batches=[convert(batch) for batch in out['batches']])


def assert_equal(found: list[Detections], expected: list[Detections]) -> None:
    for a, b in zip(found, expected, strict=True):
        assert len(a) == len(b) > 0 and torch.equal(a.labels, b.labels)
        torch.testing.assert_close(a.scores, b.scores, rtol=0, atol=1e-10)
        torch.testing.assert_close(a.boxes, b.boxes, rtol=0, atol=1e-8)  # pixels


@EXTRA
def test_training_step_equals_the_literal_one(double_model, extra_frames):
    """Losses and gradients of two clips: the mean of what each gives alone."""
    model = double_model(extra_frames=extra_frames).train()
    batch = training_batch(model, training_clips(model, 2, num_refs=4))
    batch.images.requires_grad_()
    expected = LiteralStpnSelsa(model).loss(batch, extra_frames)
    losses = model.loss(batch)
    assert set(losses) == {*LOSSES, 'acc'} == set(expected)
    for name in LOSSES:
        torch.testing.assert_close(losses[name], expected[name], rtol=0, atol=1e-10)

    of = [batch.images, *model.parameters()]
    gradients = [
        torch.autograd.grad(sum(x[name] for name in LOSSES), of) for x in (losses, expected)
    ]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-8 * max(1, b.abs().max().item()))
    per_image = gradients[0][0].abs().amax(dim=(1, 2, 3))
    assert [g > 0 for g in per_image] == [True, *[not extra_frames] * 2, True, True] * 2


@torch.inference_mode()
def literal(
    model: STPNSelsa, clips: list[Clip], support: list[int], memory: list[list[int]], extra: bool
) -> list[Detections]:
    """Detections of a whole video, of which each key frame has a memory."""
    images = [image_of(model, clip) for clip in clips]
    stack = torch.cat([image for image, _ in images])
    return [
        LiteralStpnSelsa(model).detect(stack, shape, clip.key, support, ids, extra)
        for (_, shape), clip, ids in zip(images, clips, memory, strict=True)
    ]


@EXTRA
@pytest.mark.parametrize('length', [1, 2, 3])
def test_frames_of_a_video_equal_the_literal_ones(double_model, extra_frames, length):
    model = double_model(extra_frames=extra_frames)
    clips = adaptive_clips(model, 1, length, num_refs=5)
    refs = [frame.frame_id for frame in clips[0].refs]
    assert refs == [round(i * (length - 1) / 4) for i in range(5)]
    support, memory = (refs[1::2], refs[::2]) if extra_frames else (refs, refs)
    expected = literal(model, clips, support, [memory] * length, extra_frames)
    assert_equal(run(model, clips), expected)


def test_without_references_the_first_frame_prompts_itself(double_model):
    for extra_frames in (True, False):
        model = double_model(extra_frames=extra_frames)
        frames = video_frames(1, 2)
        clips = [clip_of_frames(1, frames, [i]) for i in range(2)]
        assert_equal(run(model, clips), literal(model, clips, [0], [[], []], extra_frames))


@pytest.mark.parametrize('mode', ['offline', 'causal'])
def test_a_window_is_prompted_by_what_it_starts_with(double_model, mode):
    """Every frame of the window has the same prompts, those of every other frame it starts with."""
    model, given = double_model(), dict(num_ref_imgs=2, method='test_with_fix_stride')
    clips = planned_clips(model, 1, 4, dict(given, frame_range=[-1, 1]), mode)
    start = [0, 0, 1] if mode == 'offline' else [0, 0, 0]
    assert [f.frame_id for f in clips[0].refs if f.role == 'window'] == start
    assert [f.frame_id for f in clips[0].refs if f.role == 'prompt'] == [0]
    around = (-1, 1) if mode == 'offline' else (-2, -1)
    # the key frame itself is appended by `detect`
    memory = [[min(max(i + d, 0), 3) for d in around] for i in range(4)]
    assert_equal(run(model, clips), literal(model, clips, [0], memory, True))


def test_what_the_settings_need():
    model = tiny_model('stpn_selsa').train()
    with pytest.raises(ValueError, match=r'at least 2 .*got clips of 2 .*num_ref_imgs=4'):
        losses_of(model, training_clips(model, 1, num_refs=1))
    window = dict(frame_range=[-1, 1], num_ref_imgs=2, method='test_with_fix_stride')
    both = tiny_model('stpn_selsa', extra_frames=False)
    assert model.plan('offline', window).in_order and both.plan('causal', window) is None
    with pytest.raises(ValueError, match='test_with_adaptive_stride'):
        both.plan('offline', window)
    with pytest.raises(TypeError, match=r"'ref_bach'.*Did you mean 'ref_batch'"):
        MODELS.build(dict(tiny_config('stpn_selsa'), ref_bach=3))


@pytest.mark.parametrize('name', ['stpn_selsa_swint_adam_9x', 'stpn_selsa_swinb_adam_9x'])
def test_configs_take_the_references_they_name(name):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    model, rng = tiny_model('stpn_selsa'), np.random.default_rng(0)
    vid, det = (
        model.plan('train', d.ref_img_sampler) for d in cfg.train_dataloader.dataset.datasets
    )
    roles, refs = zip(*vid(40, 100, rng), strict=True)
    assert roles == ('prompt', 'prompt', 'ref', 'ref') and refs[1] < 40 < refs[2]
    assert det(-1, 1, rng) == [(role, -1) for role in roles]
    sampler = cfg.test_dataloader.dataset.ref_img_sampler
    for length in (100, 300, 28):  # in every video, not only in the first as in 1.x
        spread = [round(i * (length - 1) / 27) for i in range(28)]
        assert sampler_plan(sampler)(0, length, rng) == [('ref', i) for i in spread]
        refs = model.plan('offline', sampler)(0, length, rng)
        assert [i for role, i in refs if role == 'prompt'] == spread[1::2]
        assert [i for role, i in refs if role == 'ref'] == spread[::2]
