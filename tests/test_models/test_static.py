"""What is recorded and replayed as a CUDA graph, and when; recordings are faked without a GPU."""

from contextlib import nullcontext
from unittest.mock import Mock

import pytest
import torch
from tiny_detector import random_clip, tiny_detector
from torch import nn

from mmdet.models import static
from mmdet.models.static import MAX_GRAPHS, WARM_UP, StaticPart, TrainingGraphs


class FakeGraph:
    """Records by remembering the function, and counts its replays."""

    def __init__(self, function, inputs, pool) -> None:
        self.function, self.pool, self.replays = function, pool, 0

    def replay(self, inputs):
        self.replays += 1
        return self.function(*inputs)


@pytest.fixture
def part(monkeypatch) -> StaticPart:
    """A part that doubles its inputs and holds fake graphs."""
    monkeypatch.setattr(static, '_Graph', FakeGraph)
    monkeypatch.setattr(torch.cuda, 'current_stream', lambda: 'the stream')
    return StaticPart(lambda *tensors: tuple(x * 2 for x in tensors), pool='the pool')


def replays(part: StaticPart) -> list[int]:
    return [graph.replays for graph in part._graphs.values()]


def test_a_shape_is_recorded_after_it_was_warmed_up_and_replayed_from_then_on(part):
    for call in range(1, WARM_UP + 4):
        (found,) = part(torch.full((2, 3), call))
        assert torch.equal(found, torch.full((2, 3), 2 * call))
        assert replays(part) == ([call - WARM_UP] if call > WARM_UP else [])
    assert next(iter(part._graphs.values())).pool == 'the pool'


def test_more_shapes_than_are_recorded_run_as_they_are(part):
    for size in range(1, MAX_GRAPHS + 4):
        for _ in range(WARM_UP + 2):
            (found,) = part(torch.ones(size))
            assert torch.equal(found, torch.full((size,), 2.0))
    assert replays(part) == [2] * MAX_GRAPHS
    part(torch.ones(1))
    assert replays(part)[0] == 3


@pytest.fixture
def recording(monkeypatch) -> Mock:
    """Stands for `torch.cuda.graph`: what runs inside of it is run, as it is in a real one."""
    context = Mock(side_effect=lambda *_, **__: nullcontext())
    monkeypatch.setattr(torch.cuda, 'CUDAGraph', Mock)
    monkeypatch.setattr(torch.cuda, 'graph', context)
    monkeypatch.setattr(torch.cuda, 'synchronize', lambda: None)
    return context


def test_inputs_are_copied_to_where_the_recording_reads_them(recording):
    read, given = [], torch.tensor([3.0, 4.0])
    graph = static._Graph(lambda x: (read.append(x) or x + 1,), (torch.ones(2),), pool=7)
    recording.assert_called_once_with(graph.graph, pool=7, capture_error_mode='thread_local')
    (out,) = graph.replay((given,))
    graph.graph.replay.assert_called_once_with()
    assert read[0] is read[1] is graph.inputs[0] and read[0].tolist() == [3, 4]
    assert read[0].data_ptr() != given.data_ptr()
    assert out is graph.outputs[0]  # the same memory in every replay


def test_a_recording_that_fails_leaves_nothing_open(recording):
    with pytest.raises(RuntimeError, match='capturing'):
        static._Graph(Mock(side_effect=RuntimeError('capturing')), (torch.ones(2),), pool=None)
    assert static._kept == []


@pytest.fixture
def said(monkeypatch) -> list[str]:
    """What is told of recordings that fail; they go back to the stream before them."""
    texts = []
    monkeypatch.setattr(static, 'print_log', lambda text, **_: texts.append(text))
    monkeypatch.setattr(torch.cuda, 'current_stream', lambda: 'the stream')
    monkeypatch.setattr(torch.cuda, 'set_stream', texts.append)
    monkeypatch.setattr(torch.cuda, 'synchronize', lambda: None)
    return texts


FAILURE = Mock(side_effect=RuntimeError('not while capturing\nTraceback'))


def test_a_part_that_cannot_be_recorded_runs_as_it_is_and_says_so_once(said, part, monkeypatch):
    monkeypatch.setattr(static, '_Graph', FAILURE)
    for _ in range(WARM_UP + 3):
        assert part(torch.ones(2))[0].tolist() == [2, 2]
    stream, text = said
    assert stream == 'the stream' and 'not while capturing' in text and '\n' not in text


def trained(net: nn.Module, calls: int, graphs: bool) -> list[torch.Tensor]:
    """Gradients of the last of some calls; the loss of the one before is kept meanwhile."""
    through = TrainingGraphs(net, None) if graphs else net
    for call in range(calls):
        net.zero_grad()
        loss = sum(x.square().sum() for x in through(torch.full((1, 3, 8, 8), 1.0 + call)))
        loss.backward()
    return [p.grad for p in net.parameters()]


class Net(nn.Module):
    """Two maps; its first weights are frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3)
        self.stem.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = self.stem(x)
        return x, self.conv(x)


def test_training_graphs_record_other_tensors_of_the_same_memory(said, monkeypatch):
    given = []

    def record(function, tensors):
        given.append(tensors)
        return function

    monkeypatch.setattr(torch.cuda, 'make_graphed_callables', record)
    torch.manual_seed(0)
    net = Net()
    for calls in (WARM_UP, WARM_UP + 2):
        torch.testing.assert_close(trained(net, calls, True), trained(net, calls, False))
    ((images, *weights),) = given
    assert images.shape == (1, 3, 8, 8) and all(w.requires_grad and w.is_leaf for w in weights)
    learned = list(net.conv.parameters())
    assert [w.data_ptr() for w in weights] == [p.data_ptr() for p in learned]
    assert not any(w is p for w, p in zip(weights, learned, strict=True)) and not said


def test_training_goes_on_where_it_cannot_be_recorded(said, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'make_graphed_callables', FAILURE)
    net = Net()
    torch.testing.assert_close(trained(net, WARM_UP + 3, True), trained(net, WARM_UP + 3, False))
    assert [text.split(' cannot')[0] for text in said] == [
        'the stream', 'backbone and neck in training'
    ]  # fmt: skip


def test_anchors_are_kept_by_a_recording(monkeypatch):
    model, kept = tiny_detector('fpn'), []
    monkeypatch.setattr(static, '_kept', [kept])
    feats = tuple(torch.zeros(1, 16, 8 >> i or 1, 8 >> i or 1) for i in range(5))
    anchors = model.rpn_head.anchors(feats)
    assert kept == [anchors] and kept[0] is anchors


@pytest.mark.parametrize('graphs', [True, False])
def test_a_model_records_its_static_parts_only_where_it_may(monkeypatch, graphs):
    monkeypatch.setattr(static, '_Graph', FakeGraph)
    monkeypatch.setattr(torch.cuda, 'graph_pool_handle', lambda: 'the pool')
    monkeypatch.setattr(torch.cuda, 'current_stream', lambda: 'the stream')
    model, clip = tiny_detector('dc5'), random_clip()
    expected, _ = model.step(clip, model.init_state())
    model.graphs = graphs
    for _ in range(WARM_UP + 2):
        found, _ = model.step(clip, model.init_state())
        assert torch.equal(found.boxes, expected.boxes)
    assert [replays(p) for p in model._static_parts.values()] == ([[2]] if graphs else [])
    model.float()  # weights may have moved
    assert not model._static_parts
