"""STPN and SELSA on STPN: prompts made once per video, literally in double precision; how they are
made. What holds for every video method is in test_video_methods.py."""

from dataclasses import replace

import naive_video
import pytest
import torch
from literal_parts import image_of
from tiny_video_models import (
    WINDOW,
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
from mmdet.registry import MODELS
from mmdet.structures import Clip, Detections

LOSSES = ('loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox')
EXTRA = pytest.mark.parametrize('extra', [True, False])

# ---- prompts alone


@pytest.mark.parametrize('support_eval', [False, True])
def test_stochastic_depth_of_the_support_pass(support_eval):
    options = {'detector.backbone.drop_path_rate': 0.5}
    model = tiny_model('stpn', options, support_eval=support_eval).train()
    batch = training_batch(model, training_clips(model, 1))
    prompts = [model.prompts.of_clips(batch, [0]) for _ in range(6)]
    assert all(torch.equal(prompts[0], p) for p in prompts) == support_eval
    assert model.detector.backbone.training


@pytest.mark.parametrize('chunk', [1, 3, None])
@torch.inference_mode()
def test_support_frames_in_parts_make_the_same_prompts(chunk):
    """Of clips with different numbers of support frames, too."""
    model = tiny_model('stpn')
    frames = [video_frames(video, 6) for video in (1, 2)]
    clips = [clip_of_frames(1, frames[0], [0, 1, 5, 3, 1]), clip_of_frames(2, frames[1], [2])]
    (batch,) = model.data_preprocessor(clips)['batches']
    made = model.prompts.of_clips(batch, [0, 1], chunk)
    for prompts, clip in zip(made, clips, strict=True):
        images = [image_of(model, clip, i)[0] for i in range(len(clip.frames))][-4:]
        maps = torch.cat([model.detector.backbone(x)[-1] for x in images])
        torch.testing.assert_close(prompts, model.prompt_predictor(maps))


# ---- with SELSA


@pytest.fixture
def double_model(monkeypatch):
    """Makes a model that computes everything in double precision and samples every region."""
    monkeypatch.setattr(torch.Tensor, 'float', torch.Tensor.double)
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)

    def convert(batch: ClipBatch) -> ClipBatch:
        gt = batch.gt and replace(batch.gt, boxes=batch.gt.boxes.double())
        images, shapes = batch.images.double(), batch.img_shapes.double()
        return replace(batch, images=images, img_shapes=shapes, gt=gt)

    def in_double(module, args, out) -> dict:
        return dict(batches=[convert(batch) for batch in out['batches']])

    def make(**changes) -> STPNSelsa:
        detector = unlimited(tiny_config('stpn_selsa')).detector
        model = tiny_model('stpn_selsa', detector=detector, **changes).double()
        model.data_preprocessor.register_forward_hook(in_double)
        return model

    yield make
    torch.set_default_dtype(usual)


@EXTRA
def test_training_step_equals_the_literal_one(double_model, extra):
    """Losses and gradients of two clips: the mean of what each gives alone."""
    model = double_model(extra_frames=extra).train()
    batch = training_batch(model, training_clips(model, 2, num_refs=4))
    batch.images.requires_grad_()
    expected, losses = naive_video.stpn_selsa_losses(model, batch, extra), model.loss(batch)
    assert set(losses) == {*LOSSES, 'acc'} == set(expected)
    for name in LOSSES:
        torch.testing.assert_close(losses[name], expected[name], rtol=0, atol=1e-10)
    of = [batch.images, *model.parameters()]
    found, wanted = (
        torch.autograd.grad(sum(x[name] for name in LOSSES), of) for x in (losses, expected)
    )
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-8 * max(1, b.abs().max().item()))
    with_gradient = [True, *[not extra] * 2, True, True]
    assert [bool(g.any()) for g in found[0]] == with_gradient * 2


def check(model, clips: list[Clip], support: list[int], refs: list[list[int]], extra: bool) -> None:
    """The frames of a video equal the literal ones, each of which sees `refs`."""
    images = [image_of(model, clip) for clip in clips]
    stack = torch.cat([image for image, _ in images])
    found = run(model, clips)
    for one, (_, shape), clip, ids in zip(found, images, clips, refs, strict=True):
        expected = literal(model, stack, shape, clip.key, support, ids, extra)
        assert len(one) == len(expected) > 0 and torch.equal(one.labels, expected.labels)
        torch.testing.assert_close(one.scores, expected.scores, rtol=0, atol=1e-10)
        torch.testing.assert_close(one.boxes, expected.boxes, rtol=0, atol=1e-8)  # pixels


@torch.inference_mode()
def literal(*args) -> Detections:
    return naive_video.stpn_selsa_detections(*args)


@EXTRA
@pytest.mark.parametrize('length', [1, 2, 3])
def test_frames_of_a_video_equal_the_literal_ones(double_model, extra, length):
    model = double_model(extra_frames=extra)
    clips = adaptive_clips(model, 1, length, num_refs=5)
    refs = [frame.frame_id for frame in clips[0].refs]
    assert refs == [round(i * (length - 1) / 4) for i in range(5)]
    support, seen = (refs[1::2], refs[::2]) if extra else (refs, refs)
    check(model, clips, support, [seen] * length, extra)


@EXTRA
def test_without_references_the_first_frame_prompts_itself(double_model, extra):
    frames = video_frames(1, 2)
    clips = [clip_of_frames(1, frames, [i]) for i in range(2)]
    check(double_model(extra_frames=extra), clips, [0], [[], []], extra)


@pytest.mark.parametrize(('mode', 'around'), [('offline', (-1, 1)), ('causal', (-2, -1))])
def test_a_window_is_prompted_by_what_it_starts_with(double_model, mode, around):
    """Every frame of the window has the same prompts, those of every other frame it starts with."""
    model = double_model()
    clips = planned_clips(model, 1, 4, WINDOW, mode)
    start = [0, 0, 1] if mode == 'offline' else [0, 0, 0]
    assert [f.frame_id for f in clips[0].refs if f.role == 'window'] == start
    assert [f.frame_id for f in clips[0].refs if f.role == 'prompt'] == [0]
    refs = [[min(max(i + d, 0), 3) for d in around] for i in range(4)]
    check(model, clips, [0], refs, extra=True)


def test_what_the_settings_need():
    model = tiny_model('stpn_selsa').train()
    with pytest.raises(ValueError, match=r'at least 2 .*got clips of 2 .*num_ref_imgs=4'):
        losses_of(model, training_clips(model, 1, num_refs=1))
    both = tiny_model('stpn_selsa', extra_frames=False)
    assert model.plan('offline', WINDOW).in_order and both.plan('causal', WINDOW) is None
    with pytest.raises(ValueError, match='test_with_adaptive_stride'):
        both.plan('offline', WINDOW)
    with pytest.raises(TypeError, match=r"'ref_bach'.*Did you mean 'ref_batch'"):
        MODELS.build(dict(tiny_config('stpn_selsa'), ref_bach=3))


# ---- what makes prompts

PREDICTORS = ['AttentionPromptPredictor', 'AveragePromptPredictor', 'MixerPromptPredictor']


def predictor(name: str, **settings) -> torch.nn.Module:
    torch.manual_seed(0)
    heads = dict(num_heads=2) if name == 'AttentionPromptPredictor' else {}
    small = dict(embed_dims=6, num_prompts=2, prompt_dims=4, **heads)
    return MODELS.build(dict(type=name, **{**small, **settings}))


def test_average_by_hand():
    """Two frames of 3 tokens; the two strongest by L1, strongest first."""
    model = predictor('AveragePromptPredictor', embed_dims=2, prompt_dims=2)
    model.reduction.weight.data = torch.eye(2)
    model.reduction.bias.data = torch.tensor([0.5, 0.0])
    first = torch.tensor([[1.0, 1.0], [-4.0, 0.0], [2.0, -1.0]])  # norms 2, 4, 3
    second = torch.tensor([[0.0, 6.0], [1.0, 0.0], [3.0, 2.0]])  # norms 6, 1, 5
    features = torch.stack([first, second]).transpose(1, 2).reshape(2, 2, 1, 3)
    expected = torch.tensor([[-2.0 + 0.5, 3.0], [2.5 + 0.5, 0.5]])
    torch.testing.assert_close(model(features), expected)


def test_mixer_in_closed_form():
    """A map of the grid's own size needs no pooling."""
    model, tokens = predictor('MixerPromptPredictor', grid_size=2), 0
    features, layer = torch.randn(2, 6, 2, 2), model.layers[0]
    for frame in features:
        x = model.reduction(torch.stack([frame[:, i, j] for i in range(2) for j in range(2)]))
        normed = layer.norm1(x)
        x = x + torch.stack([layer.token_mixing(normed[:, c]) for c in range(4)], dim=1)
        x = x + torch.stack([layer.channel_mixing(layer.norm2(t)) for t in x])
        tokens = tokens + model.norm(x) / 2
    expected = model.to_prompts.weight @ tokens + model.to_prompts.bias[:, None]
    torch.testing.assert_close(model(features), expected)


@pytest.mark.parametrize('name', PREDICTORS)
@pytest.mark.parametrize('frames, hw', [(1, (3, 5)), (14, (9, 8))])
def test_any_number_of_frames_in_any_order_and_videos_do_not_meet(name, frames, hw):
    model, features = predictor(name), torch.randn(3, frames, 6, *hw)
    prompts = model(features)
    assert prompts.shape == (3, 2, 4)
    torch.testing.assert_close(prompts, torch.stack([model(x.flip(0)) for x in features]))


def test_prompts_that_cannot_be_made_are_refused():
    with pytest.raises(ValueError, match='prompt_dims 4 is no multiple of num_heads 3'):
        predictor('AttentionPromptPredictor', num_heads=3)
    with pytest.raises(ValueError, match=r'\(1, 1\) has fewer tokens than num_prompts 2'):
        predictor('AveragePromptPredictor')(torch.randn(3, 6, 1, 1))
