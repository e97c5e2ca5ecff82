"""Every method on a GPU in every precision: graphs against plain calls, the GPU against the CPU."""

import copy

import alike
import pytest
import torch
from tiny_video_models import DETECTORS, adaptive_clips, methods, run, tiny_model, training_clips

METHODS = [*DETECTORS, *methods()]
DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device'),
]


def share_found(expected, found, score: float, box: float) -> float:
    """The mean share over the frames."""
    pairs = list(zip(expected, found, strict=True))
    return sum(alike.share_found(a, b, score, box) for a, b in pairs) / len(pairs)


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('dtype', DTYPES)
def test_graphs_equal_plain_calls(method, dtype):
    clips, found = adaptive_clips(tiny_model(method), 1, 12), []
    for graphs in (True, False):
        model = copy.deepcopy(tiny_model(method)).cuda().prepare(DTYPES[dtype], graphs=graphs)
        found.append(run(model, clips))
        assert any(part._graphs for part in model._static_parts.values()) == graphs
    assert share_found(*found, score=1e-2 if dtype != 'fp32' else 1e-4, box=0.5) > 0.98


@pytest.mark.parametrize('method', METHODS)
def test_a_gpu_finds_what_a_cpu_finds(method):
    clips = adaptive_clips(tiny_model(method), 1, 12)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    on_cpu = run(tiny_model(method).prepare(), clips)
    on_gpu = run(tiny_model(method).cuda().prepare(), clips)
    assert share_found(on_cpu, on_gpu, score=1e-3, box=0.5) > 0.97


@pytest.mark.parametrize('method', METHODS)
def test_batches_of_videos_equal_each_alone(method):
    model = tiny_model(method).cuda().prepare()
    videos = {video: adaptive_clips(tiny_model(method), video, 8) for video in (1, 2, 3)}
    alone = [d for clips in videos.values() for d in run(model, clips)]
    states = {video: model.init_state(video_id=video) for video in videos}
    together = {video: [] for video in videos}
    for i in range(8):
        batch = [clips[i] for clips in videos.values()]
        for video, d in zip(videos, model.step_batch(batch, list(states.values())), strict=True):
            together[video].append(d)
    flat = [d for found in together.values() for d in found]
    assert share_found(alone, flat, score=1e-3, box=0.5) > 0.97


@pytest.mark.parametrize('method', METHODS)
def test_graphs_are_bounded_and_survive_other_sizes(method, monkeypatch):
    monkeypatch.setattr('mmdet.models.static.MAX_GRAPHS', 1)
    model = tiny_model(method).cuda().prepare()
    first = run(model, adaptive_clips(tiny_model(method), 1, 8))
    run(model, adaptive_clips(tiny_model(method), 2, 3))
    again = run(model, adaptive_clips(tiny_model(method), 1, 8))
    assert all(len(part._graphs) <= 1 for part in model._static_parts.values())
    assert share_found(first, again, score=1e-4, box=0.1) > 0.99


@pytest.mark.parametrize('method', ['selsa', 'mamba'])
def test_training_graphs_give_the_same_loss_and_gradients(method):
    results = []
    for graphs in (False, True):
        model = copy.deepcopy(tiny_model(method)).cuda().train()
        model.lay_out(half_precision=False, graphs=graphs)
        for _ in range(4):  # the last one is a replay
            torch.manual_seed(0)
            model.zero_grad()
            batches = model.data_preprocessor(training_clips(model, 2), training=True)
            losses = model(**batches)
            sum(v for k, v in losses.items() if 'loss' in k).backward()
        recorded = model.detector.training_graphs and model.detector.training_graphs._graphs
        assert bool(recorded) == graphs
        grads = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        results.append(({k: v.detach() for k, v in losses.items()}, grads))
    (loss, grad), (loss_graph, grad_graph) = results
    assert grad.keys() == grad_graph.keys()
    for name in loss:
        torch.testing.assert_close(loss_graph[name], loss[name], rtol=1e-3, atol=1e-5)
    for name in grad:
        torch.testing.assert_close(grad_graph[name], grad[name], rtol=1e-2, atol=1e-4)
