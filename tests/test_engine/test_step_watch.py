"""Losses and signals that are read late: what is found, when, and that nothing waits before."""

import signal
from contextlib import nullcontext
from unittest import mock

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from toy_runs import BY_ITERATION, assert_same, interrupted_at, train

from mmdet.core.errors import NonFiniteLossError
from mmdet.engine import step_watch
from mmdet.engine.loops import TrainingInterrupted, VideoTrainLoop
from mmdet.engine.step_watch import HostCopy, StepWatch

CPU = torch.device('cpu')


def watch_of(losses, lag):
    """A watch with one iteration for each loss, whose key frame is called f1, f2, ..."""
    watch = StepWatch(CPU, lag)
    for number, loss in enumerate(losses, start=1):
        values = {'loss': torch.tensor(loss, requires_grad=True), 'acc': 0.5}
        watch.add(number, 1, values, [f'f{number}'])
        watch.read()
    return watch


@pytest.mark.parametrize('lag', [0, 3])
@pytest.mark.parametrize('wrong', [float('nan'), float('inf'), -float('inf')])
def test_a_loss_is_found_lag_iterations_later_and_named_as_what_it_was(lag, wrong):
    losses = [1.0, wrong, *[2.0] * lag]
    watch_of(losses[:-1] if lag else losses[:1], lag)  # not known yet
    said = rf'at iteration 2 \(epoch 1\): loss {wrong:.6g}, acc 0\.5.*Key frames: f2\.'
    with pytest.raises(NonFiniteLossError, match=said):
        watch_of(losses, lag)
    with pytest.raises(NonFiniteLossError, match='iteration 2'):
        watch_of(losses[:2], lag).settle()


def test_what_another_process_found_stops_this_one(monkeypatch):
    monkeypatch.setattr(step_watch, 'get_world_size', lambda: 2)
    other = torch.tensor([1, 0])
    reduce = lambda t, op: t.copy_(torch.maximum(t, other))  # noqa: E731
    monkeypatch.setattr(step_watch.dist, 'all_reduce', reduce)
    with pytest.raises(NonFiniteLossError, match=r'another process .* iteration 1 \(epoch 1\)'):
        watch_of([1.0], lag=0)


def test_only_a_gpu_is_ahead_and_a_copy_is_of_the_time_it_was_made():
    assert StepWatch(CPU).lag == 0
    assert StepWatch(torch.device('cuda', 0)).lag == step_watch.GPU_LAG > 0
    source = torch.tensor([1, 2])
    copy = HostCopy(source)
    source.zero_()
    assert copy.read() == [1, 2]


# --- in a training -------------------------------------------------------------------------------


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """The loop reads two iterations late; a test may watch its iterations."""
    original = StepWatch.__init__
    monkeypatch.setattr(StepWatch, '__init__', lambda self, device: original(self, device, lag=2))
    run_iter = VideoTrainLoop.run_iter

    def watch(before):
        def watched(self, index, batch):
            with before(self.iter, batch) or nullcontext():
                run_iter(self, index, batch)

        monkeypatch.setattr(VideoTrainLoop, 'run_iter', watched)

    return watch


@pytest.mark.parametrize('by', [{}, BY_ITERATION], ids=['by epoch', 'by iteration'])
@pytest.mark.parametrize('bad', [6, 7, 9])  # read in the epoch, at its end, in the next one
def test_no_checkpoint_has_the_damage(tmp_path, as_on_a_gpu, bad, by):
    frames = []
    as_on_a_gpu(lambda _, batch: frames.append(', '.join(clip.key.path for clip in batch)))
    with pytest.raises(NonFiniteLossError) as caught:
        train(tmp_path, {'model.explode_at': bad, **by}, validate=False)
    assert f'at iteration {bad} (epoch {1 + (bad - 1) // 7})' in str(caught.value)
    assert f'Key frames: {frames[bad - 1]}.' in str(caught.value)
    saved = [torch.load(path) for path in tmp_path.glob('*_*.pth')]
    last = bad - 1 if by else (7 if bad > 7 else 0)
    assert max((checkpoint['meta']['iter'] for checkpoint in saved), default=0) == last
    weights = [value for checkpoint in saved for value in checkpoint['state_dict'].values()]
    assert all(value.isfinite().all() for value in weights)


def test_a_signal_does_not_hide_a_loss_that_is_not_finite(tmp_path, as_on_a_gpu):
    with interrupted_at(3, signal.SIGTERM):
        with pytest.raises(NonFiniteLossError, match='at iteration 5'):
            train(tmp_path, {'model.explode_at': 5}, validate=False)
    assert not list(tmp_path.glob('*.pth'))


@pytest.mark.parametrize('at', [2, 6])
def test_a_run_stopped_late_resumes_to_the_same_weights(tmp_path, as_on_a_gpu, at):
    expected = train(tmp_path / 'whole', validate=False)
    with interrupted_at(at, signal.SIGTERM), pytest.raises(TrainingInterrupted):
        train(tmp_path, validate=False)
    (saved,) = tmp_path.glob('iter_*.pth')
    assert saved.name == f'iter_{min(at + 3, 7)}.pth'
    assert_same(train(tmp_path, validate=False, resume='auto'), expected)


# item(), float(), bool(), `if tensor`, and what has a size that only the device knows
WAITS = {
    *(torch.ops.aten._local_scalar_dense.default, torch.ops.aten.equal.default),
    *(torch.ops.aten.nonzero.default, torch.ops.aten.masked_select.default),
}


class HostWaits(TorchDispatchMode):
    """Counts the calls that on a GPU would wait for its results.

    `cpu()` does nothing to a tensor that is on the CPU and never comes here: it is counted by name.
    """

    def __init__(self):
        super().__init__()
        self.found, self.calls = [], 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls += 1
        chosen = args[1] if func is torch.ops.aten.index.Tensor else []
        if func in WAITS or any(i is not None and i.dtype == torch.bool for i in chosen):
            self.found.append(str(func))
        return func(*args, **(kwargs or {}))

    def __enter__(self):
        self._cpu = mock.patch.object(torch.Tensor, 'cpu', lambda _: self.found.append('cpu'))
        self._cpu.start()
        return super().__enter__()

    def __exit__(self, *exception):
        self._cpu.stop()
        return super().__exit__(*exception)


@pytest.mark.parametrize('amp', [None, 'bf16'])
def test_an_iteration_that_logs_nothing_waits_for_nothing(tmp_path, as_on_a_gpu, amp):
    """Lines are written after iterations 1, 7 and 14; all hooks and gradient clipping are on."""
    counted = {number: HostWaits() for number in range(14) if number not in (0, 6, 13)}
    as_on_a_gpu(lambda number, _: counted.get(number))
    runner = train(tmp_path, validate=False, amp=amp)
    assert runner.optim_wrapper.clip_grad_kwargs
    assert all(waits.calls > 50 for waits in counted.values())
    assert {number: waits.found for number, waits in counted.items() if waits.found} == {}
    values = torch.ones(3)
    with HostWaits() as waits:  # the counter counts
        float(values[0]), values.cpu(), bool(values[1] > 0), values[values > 0]
    assert len(waits.found) == 4
