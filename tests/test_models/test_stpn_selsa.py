"""SELSA on STPN against a literal implementation in double precision; its data and its sizes.

What holds for every video method (states, short videos, no proposals) is in test_mamba.py.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from naive_stpn_selsa import LiteralStpnSelsa
from tiny_video_models import (
    adaptive_clips,
    assert_same,
    clip_of_frames,
    run,
    tiny_config,
    tiny_model,
    training_clips,
    video_frames,
)

from mmdet.datasets.ref_sampling import RefSampler
from mmdet.models.vid import STPNSelsa
from mmdet.registry import MODELS
from mmdet.structures import Clip, Detections

CONFIGS = Path(__file__).resolve().parents[2] / 'configs/vid/stpn'
LOSSES = ('loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox')
EXTRA = pytest.mark.parametrize('extra_frames', [True, False])


@pytest.fixture
def double_model(monkeypatch):
    """Makes a model that computes everything in double precision and samples every region."""
    monkeypatch.setattr(torch.Tensor, 'float', torch.Tensor.double)

    def make(**changes) -> STPNSelsa:
        cfg = tiny_config('stpn_selsa')
        for stage in ('rpn', 'rcnn'):
            cfg.detector.train_cfg[stage].sampler.num = 1_000_000
        model = tiny_model('stpn_selsa', detector=cfg.detector, **changes).double()
        model.data_preprocessor.register_forward_hook(in_double)
        return model

    return make


def in_double(module, args, out) -> dict:
    def convert(batch):
        gts = [replace(gt, boxes=gt.boxes.double()) for gt in batch.gts]
        return replace(batch, images=batch.images.double(), gts=gts)

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
    batch = model.data_preprocessor(training_clips(2, num_refs=4), training=True)['batches'][0]
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
    per_frame = gradients[0][0].abs().amax(dim=(0, 2, 3, 4))
    assert [g > 0 for g in per_frame] == [True, *[not extra_frames] * 2, True, True]


def test_loss_of_a_batch_is_the_mean_of_its_clips(double_model):
    model = double_model().train()
    clips = training_clips(2, num_refs=4)

    def losses(clips: list[Clip]) -> dict:
        return model(**model.data_preprocessor(clips, training=True))

    first, second, both = losses(clips[:1]), losses(clips[1:]), losses(clips)
    assert abs(first['loss_cls'] - second['loss_cls']) > 1e-4
    for name in LOSSES:
        mean = (first[name] + second[name]) / 2
        torch.testing.assert_close(both[name], mean, rtol=0, atol=1e-10)


@EXTRA
@pytest.mark.parametrize('length', [1, 2, 3])
@torch.inference_mode()
def test_frames_of_a_video_equal_the_literal_ones(double_model, extra_frames, length):
    model, clips = double_model(extra_frames=extra_frames), adaptive_clips(1, length, num_refs=5)
    refs = [frame.frame_id for frame in clips[0].refs]
    support, memory = (refs[1::2], refs[::2]) if extra_frames else (refs, refs)
    literal, images = LiteralStpnSelsa(model), images_of(model, clips)
    expected = [literal.detect(images, c.key, support, memory, extra_frames) for c in clips]
    assert_equal(run(model, clips), expected)


def images_of(model: STPNSelsa, clips: list[Clip]) -> torch.Tensor:
    """The key images [L, 3, H, W] of all clips."""
    return torch.cat([model.data_preprocessor([c])['batches'][0].key_images for c in clips])


@torch.inference_mode()
def test_without_references_the_first_frame_prompts_itself(double_model):
    for extra_frames in (True, False):
        model = double_model(extra_frames=extra_frames)
        frames = video_frames(1, 2)
        clips = [clip_of_frames(1, frames, [i]) for i in range(2)]
        literal, images = LiteralStpnSelsa(model), images_of(model, clips)
        expected = [literal.detect(images, c.key, [0], [], extra_frames) for c in clips]
        assert_equal(run(model, clips), expected)


@torch.inference_mode()
def test_a_window_is_prompted_by_what_it_starts_with(double_model):
    """The causal mode of the video API: every frame of the window has the same prompts."""
    model, frames = double_model(), video_frames(1, 4)
    sampler = RefSampler([-1, 1], 2, method='test_with_fix_stride')
    clips = [
        clip_of_frames(1, frames, [i, *sampler(i, 4, None, pad=False)], num_left_refs=1,
                       frame_stride=1)
        for i in range(4)
    ]  # fmt: skip
    assert [f.frame_id for f in clips[0].refs] == [0, 0, 1]
    literal, images = LiteralStpnSelsa(model), images_of(model, clips)
    expected = [
        # the key frame itself is appended by `detect`
        literal.detect(images, c.key, [0], [max(i - 1, 0), min(i + 1, 3)], True)
        for i, c in enumerate(clips)
    ]
    assert_equal(run(model, clips), expected)


def test_frames_of_two_videos_in_one_call_equal_one_by_one():
    model = tiny_model('stpn_selsa')
    videos = {video: adaptive_clips(video, 3) for video in (1, 2)}
    expected = [d for clips in videos.values() for d in run(model, clips)]
    states = {video: model.init_state(video_id=video) for video in videos}
    clips = [*videos[1], *videos[2]]
    found = model.step_batch(clips, [states[c.key.video_id] for c in clips])
    for a, b in zip(found, expected, strict=True):
        assert_same(a, b)


def test_one_reference_does_both():
    model = tiny_model('stpn_selsa')
    state, frames = model.init_state(video_id=1), video_frames(1, 3)
    model.step(clip_of_frames(1, frames, [0, 2]), state)
    own = model.init_state(video_id=1)
    model.step(clip_of_frames(1, frames, [0]), own)
    assert not torch.equal(state.prompt, own.prompt)
    assert state.keys and not own.keys


def test_what_the_settings_need():
    model = tiny_model('stpn_selsa').train()
    with pytest.raises(ValueError, match=r'at least 2 .*got clips of 2 .*num_ref_imgs=4'):
        model(**model.data_preprocessor(training_clips(1, num_refs=1), training=True))
    model = tiny_model('stpn_selsa', extra_frames=False)
    assert not model.keeps_window and tiny_model('stpn_selsa').keeps_window
    clip = clip_of_frames(1, video_frames(1, 2), [0, 0, 1], num_left_refs=1, frame_stride=1)
    with pytest.raises(ValueError, match='test_with_adaptive_stride'):
        model.step(clip, model.init_state(video_id=1))
    with pytest.raises(TypeError, match=r"'ref_bach'.*Did you mean 'ref_batch'"):
        MODELS.build(dict(tiny_config('stpn_selsa'), ref_bach=3))


@pytest.mark.parametrize('name', ['stpn_selsa_swint_adam_9x', 'stpn_selsa_swinb_adam_9x'])
def test_configs_take_the_references_they_name(name):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    vid, det = (RefSampler(**d.ref_img_sampler) for d in cfg.train_dataloader.dataset.datasets)
    rng = np.random.default_rng(0)
    refs = vid(40, 100, rng)
    assert len(refs) == 4 and refs[1] < 40 < refs[2]
    assert det(-1, 1, rng) == [-1] * 4
    test = RefSampler(**cfg.test_dataloader.dataset.ref_img_sampler)
    for length in (100, 300, 28):  # in every video, not only in the first as in 1.x
        refs = test(0, length, rng, pad=False)
        assert refs == [round(i * (length - 1) / 27) for i in range(28)]
        assert len(refs[1::2]) == len(refs[::2]) == 14


def swin_size(dim: int, depths: tuple, heads: tuple) -> int:
    """Parameters of a Swin with an output norm per stage: 7 x 7 windows, MLPs of four times."""
    total = 3 * 16 * dim + dim + 2 * dim  # patches of 4 x 4 and their norm
    for i, (depth, head) in enumerate(zip(depths, heads, strict=True)):
        c = dim * 2**i
        block = 4 * c * c + 4 * c + 8 * c * c + 5 * c + 4 * c + 13**2 * head
        total += depth * block + 2 * c
        if i < len(depths) - 1:
            total += 4 * c * 2 * c + 2 * 4 * c
    return total


@pytest.mark.parametrize(
    ('name', 'dim', 'depths', 'heads'),
    [('t', 96, (2, 2, 6, 2), (3, 6, 12, 24)), ('b', 128, (2, 2, 18, 2), (4, 8, 16, 32))],
)
def test_number_of_parameters_by_formula(name, dim, depths, heads):
    cfg = Config.fromfile(CONFIGS / f'stpn_selsa_swin{name}_adam_9x.py')
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    last = 8 * dim
    expected = dict(
        backbone=swin_size(dim, depths, heads),
        prompts=5 * dim + (last + 1) * dim + 4 * (dim + 1) * dim,
        neck=sum((dim * 2**i + 1) * 256 for i in range(4)) + 4 * (9 * 256 + 1) * 256,
        rpn=(9 * 256 + 1) * 256 + 257 * (3 + 12),
        shared=(256 * 49 + 1) * 1024 + 1025 * 1024,
        aggregators=2 * 4 * 1025 * 1024,
        outputs=1025 * (31 + 120),
    )
    assert sum(p.numel() for p in model.parameters()) == sum(expected.values())
    assert (name, expected['aggregators']) in (('t', 8_396_800), ('b', 8_396_800))
