"""Every method on a GPU in every precision: graphs against plain calls, the GPU against the CPU."""

import copy

import alike
import pytest
import torch
from tiny_video_models import DETECTORS, adaptive_clips, methods, run, tiny_model, training_clips

DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device'),
]
every_method = pytest.mark.parametrize('method', [*DETECTORS, *methods()])


def clips_of(method: str, video: int, length: int) -> list:
    return adaptive_clips(tiny_model(method), video, length)


def share_found(expected, found, score: float, box: float) -> float:
    """The mean share over the frames."""
    shares = [alike.share_found(a, b, score, box) for a, b in zip(expected, found, strict=True)]
    return sum(shares) / len(shares)


@every_method
@pytest.mark.parametrize('dtype', DTYPES)
def test_graphs_equal_plain_calls(method, dtype):
    found = []
    for graphs in (True, False):
        model = copy.deepcopy(tiny_model(method)).cuda().prepare(DTYPES[dtype], graphs=graphs)
        found.append(run(model, clips_of(method, 1, 12)))
        assert any(part._graphs for part in model._static_parts.values()) == graphs
    assert share_found(*found, score=1e-2 if dtype != 'fp32' else 1e-4, box=0.5) > 0.98


@every_method
def test_a_gpu_finds_what_a_cpu_finds(method):
    clips = clips_of(method, 1, 12)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    on_cpu = run(tiny_model(method).prepare(), clips)
    on_gpu = run(tiny_model(method).cuda().prepare(), clips)
    assert share_found(on_cpu, on_gpu, score=1e-3, box=0.5) > 0.97


@every_method
def test_batches_of_videos_equal_each_alone(method):
    model = tiny_model(method).cuda().prepare()
    videos = {video: clips_of(method, video, 8) for video in (1, 2, 3)}
    alone = [d for clips in videos.values() for d in run(model, clips)]
    states = [model.init_state(video_id=video) for video in videos]
    frames = [model.step_batch(list(batch), states) for batch in zip(*videos.values(), strict=True)]
    together = [d for video in zip(*frames, strict=True) for d in video]
    assert share_found(alone, together, score=1e-3, box=0.5) > 0.97


@every_method
def test_graphs_are_bounded_and_survive_other_sizes(method, monkeypatch):
    monkeypatch.setattr('mmdet.models.static.MAX_GRAPHS', 1)
    model = tiny_model(method).cuda().prepare()
    first, _, again = (
        run(model, clips_of(method, video, length)) for video, length in ((1, 8), (2, 3), (1, 8))
    )
    assert all(len(part._graphs) <= 1 for part in model._static_parts.values())
    assert share_found(first, again, score=1e-4, box=0.1) > 0.99


@pytest.mark.parametrize('method', ['selsa', 'mamba'])
def test_training_graphs_give_the_same_loss_and_gradients(method):
    losses, gradients = [], []
    for graphs in (False, True):
        model = copy.deepcopy(tiny_model(method)).cuda().train()
        model.lay_out(half_precision=False, graphs=graphs)
        for _ in range(4):  # the last one is a replay
            torch.manual_seed(0)
            model.zero_grad()
            batches = model.data_preprocessor(training_clips(model, 2), training=True)
            loss = model(**batches)
            sum(v for k, v in loss.items() if 'loss' in k).backward()
        recorded = model.detector.training_graphs and model.detector.training_graphs._graphs
        assert bool(recorded) == graphs
        named = model.named_parameters()
        gradients.append({n: p.grad.clone() for n, p in named if p.grad is not None})
        losses.append({k: v.detach() for k, v in loss.items()})
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-2, atol=1e-4)
