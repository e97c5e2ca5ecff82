"""What is recorded and replayed as a CUDA graph, and when; recordings are faked without a GPU."""

from contextlib import nullcontext
from unittest.mock import Mock

import pytest
import torch
from tiny_detector import random_clip, tiny_detector

from mmdet.models import static
from mmdet.models.static import MAX_GRAPHS, WARM_UP, StaticPart


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
    return StaticPart(lambda *tensors: tuple(x * 2 for x in tensors), pool='the pool')


def replays(part: StaticPart) -> list[int]:
    return [graph.replays for graph in part._graphs.values()]


def test_a_shape_is_recorded_after_it_was_warmed_up_and_replayed_from_then_on(part):
    for call in range(1, WARM_UP + 4):
        (found,) = part(torch.full((2, 3), call))
        assert torch.equal(found, torch.full((2, 3), 2 * call))
        assert replays(part) == ([call - WARM_UP] if call > WARM_UP else [])
    assert next(iter(part._graphs.values())).pool == 'the pool'


@pytest.mark.parametrize(
    'others',
    [
        [torch.ones(3, 2)],
        [torch.ones(2, 3, dtype=torch.float64)],
        [torch.ones(3, 2).t()],
        [torch.ones(2, 3), torch.ones(1)],
    ],
    ids=['shape', 'type', 'layout', 'number'],
)
def test_inputs_of_another_kind_have_a_recording_of_their_own(part, others):
    for _ in range(WARM_UP + 1):
        part(torch.ones(2, 3))
    for recorded in [[1]] * WARM_UP + [[1, 1]]:
        part(*others)
        assert replays(part) == recorded
    part(torch.ones(2, 3))
    assert replays(part) == [2, 1]


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
    model, clip = tiny_detector('dc5'), random_clip()
    expected, _ = model.step(clip, model.init_state())
    model.graphs = graphs
    for _ in range(WARM_UP + 2):
        found, _ = model.step(clip, model.init_state())
        assert torch.equal(found.boxes, expected.boxes)
    assert [replays(p) for p in model._static_parts.values()] == ([[2]] if graphs else [])
    model.float()  # weights may have moved
    assert not model._static_parts
