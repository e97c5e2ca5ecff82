"""Prompt predictors: closed forms, and what must not matter."""

import pytest
import torch

from mmdet.registry import MODELS

NAMES = ['AttentionPromptPredictor', 'AveragePromptPredictor', 'MixerPromptPredictor']
SMALL = dict(embed_dims=6, num_prompts=2, prompt_dims=4)


def build(name: str, **settings) -> torch.nn.Module:
    torch.manual_seed(0)
    heads = dict(num_heads=2) if name == 'AttentionPromptPredictor' else {}
    return MODELS.build(dict(type=name, **{**SMALL, **heads, **settings}))


def maps(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def test_average_by_hand():
    """Two frames of 3 tokens; the two strongest by L1, strongest first."""
    model = build('AveragePromptPredictor', embed_dims=2, prompt_dims=2)
    model.reduction.weight.data = torch.eye(2)
    model.reduction.bias.data = torch.tensor([0.5, 0.0])
    first = torch.tensor([[1.0, 1.0], [-4.0, 0.0], [2.0, -1.0]])  # norms 2, 4, 3
    second = torch.tensor([[0.0, 6.0], [1.0, 0.0], [3.0, 2.0]])  # norms 6, 1, 5
    features = torch.stack([first, second]).transpose(1, 2).reshape(2, 2, 1, 3)
    expected = torch.tensor([[-2.0 + 0.5, 3.0], [2.5 + 0.5, 0.5]])
    torch.testing.assert_close(model(features), expected)


def test_average_needs_enough_tokens():
    with pytest.raises(ValueError, match=r'\(1, 1\) has fewer tokens than num_prompts 2'):
        build('AveragePromptPredictor')(maps(3, 6, 1, 1))


def test_mixer_in_closed_form():
    """A map of the grid's own size needs no pooling."""
    model, features = build('MixerPromptPredictor', grid_size=2), maps(2, 6, 2, 2)
    layer = model.layers[0]
    out = []
    for frame in features:
        x = model.reduction(torch.stack([frame[:, i, j] for i in range(2) for j in range(2)]))
        normed = layer.norm1(x)
        x = x + torch.stack([layer.token_mixing(normed[:, c]) for c in range(4)], dim=1)
        x = x + torch.stack([layer.channel_mixing(layer.norm2(t)) for t in x])
        out.append(model.norm(x))
    tokens = sum(out) / 2
    weight, bias = model.to_prompts.weight, model.to_prompts.bias
    expected = torch.stack(
        [bias[p] + sum(weight[p, t] * tokens[t] for t in range(4)) for p in (0, 1)]
    )
    torch.testing.assert_close(model(features), expected)


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('frames, hw', [(1, (3, 5)), (14, (9, 8))])
def test_any_number_of_frames_in_any_order(name, frames, hw):
    model, features = build(name), maps(frames, 6, *hw)
    prompts = model(features)
    assert prompts.shape == (2, 4)
    torch.testing.assert_close(model(features.flip(0)), prompts)


@pytest.mark.parametrize('name', NAMES)
def test_videos_of_a_batch_do_not_meet(name):
    model, features = build(name), maps(3, 2, 6, 4, 5)
    prompts = model(features)
    assert prompts.shape == (3, 2, 4)
    torch.testing.assert_close(prompts, torch.stack([model(video) for video in features]))


def test_heads_must_divide():
    with pytest.raises(ValueError, match='prompt_dims 4 is no multiple of num_heads 3'):
        build('AttentionPromptPredictor', num_heads=3)
