"""What is recorded and replayed as a CUDA graph, and when; recordings are faked without a GPU."""

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
    """A part that counts the calls of its function and holds fake graphs."""
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
    'other',
    [
        torch.ones(3, 2),  # another shape
        torch.ones(2, 3, dtype=torch.float64),  # another type
        torch.ones(3, 2).t(),  # another layout
    ],
)
def test_inputs_of_another_kind_have_a_recording_of_their_own(part, other):
    for _ in range(WARM_UP + 1):
        part(torch.ones(2, 3))
    for _ in range(WARM_UP):
        part(other)
    assert replays(part) == [1]
    part(other)
    part(torch.ones(2, 3))
    assert replays(part) == [2, 1]
    # so has a second input
    part(torch.ones(2, 3), torch.ones(1))
    assert replays(part) == [2, 1]


def test_more_shapes_than_are_recorded_run_as_they_are(part):
    for size in range(1, MAX_GRAPHS + 4):
        for _ in range(WARM_UP + 2):
            (found,) = part(torch.ones(size))
            assert torch.equal(found, torch.full((size,), 2.0))
    assert replays(part) == [2] * MAX_GRAPHS
    part(torch.ones(1))
    assert replays(part)[0] == 3


class FakeRecording:
    """Stands for `torch.cuda.graph`: what runs inside of it is run, as it is in a real one."""

    pools: list = []

    def __init__(self, graph, pool, capture_error_mode) -> None:
        assert capture_error_mode == 'thread_local'
        self.pools.append(pool)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False


class FakeCUDAGraph:
    def __init__(self) -> None:
        self.replays = 0

    def replay(self) -> None:
        self.replays += 1


@pytest.fixture
def faked_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'CUDAGraph', FakeCUDAGraph)
    monkeypatch.setattr(torch.cuda, 'graph', FakeRecording)
    monkeypatch.setattr(torch.cuda, 'synchronize', lambda: None)


@pytest.mark.usefixtures('faked_cuda')
def test_inputs_are_copied_to_where_the_recording_reads_them():
    read = []
    graph = static._Graph(lambda x: (read.append(x) or x + 1,), (torch.ones(2),), pool=7)
    address = read[0].data_ptr()
    given = torch.tensor([3.0, 4.0])
    (out,) = graph.replay((given,))
    assert graph.graph.replays == 1 and FakeRecording.pools[-1] == 7
    assert graph.inputs[0].data_ptr() == address != given.data_ptr()
    assert graph.inputs[0].tolist() == [3, 4]
    assert out is graph.outputs[0]  # the same memory in every replay


@pytest.mark.usefixtures('faked_cuda')
def test_a_recording_that_fails_leaves_nothing_open():
    def fail(x):
        raise RuntimeError('operation not permitted when stream is capturing')

    with pytest.raises(RuntimeError, match='capturing'):
        static._Graph(fail, (torch.ones(2),), pool=None)
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
    parts = [replays(part) for part in model._static_parts.values()]
    assert parts == ([[2]] if graphs else [])
    model.float()  # weights may have moved
    assert not model._static_parts
