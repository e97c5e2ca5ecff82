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
    with pytest.raises(NonFiniteLossError) as caught:
        watch_of(losses, lag)
    text = str(caught.value)
    assert f'at iteration 2 (epoch 1): loss {wrong:.6g}, acc 0.5' in text
    assert 'Key frames: f2.' in text


def test_settling_reads_everything():
    watch_of([1.0, 2.0], lag=5).settle()
    with pytest.raises(NonFiniteLossError, match='iteration 2'):
        watch_of([1.0, float('nan')], lag=5).settle()


def test_a_signal_stops_after_the_lag():
    watch = StepWatch(CPU, lag=2)
    stops = []
    for number, sent in enumerate([0, 15, 0, 0, 2], start=1):
        watch.add(number, 1, {'loss': torch.tensor(1.0)}, [], sent)
        watch.read()
        stops.append(watch.stop)
    assert stops == [0, 0, 0, 15, 15]


def test_what_another_process_found_stops_this_one(monkeypatch):
    monkeypatch.setattr(step_watch, 'get_world_size', lambda: 2)
    other = torch.tensor([1, 0])
    monkeypatch.setattr(
        step_watch.dist, 'all_reduce', lambda t, op: t.copy_(torch.maximum(t, other))
    )
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
    """The loop reads two iterations late."""
    original = StepWatch.__init__
    monkeypatch.setattr(StepWatch, '__init__', lambda self, device: original(self, device, lag=2))


@pytest.mark.parametrize('by', [{}, BY_ITERATION], ids=['by epoch', 'by iteration'])
@pytest.mark.parametrize('bad', [6, 7, 9])  # read in the epoch, at its end, in the next one
def test_no_checkpoint_has_the_damage(tmp_path, as_on_a_gpu, monkeypatch, bad, by):
    frames = []
    original = VideoTrainLoop.run_iter

    def run_iter(self, index, batch):
        frames.append(', '.join(clip.key.path for clip in batch))
        original(self, index, batch)

    monkeypatch.setattr(VideoTrainLoop, 'run_iter', run_iter)
    with pytest.raises(NonFiniteLossError) as caught:
        train(tmp_path, {'model.explode_at': bad, **by}, validate=False)
    text = str(caught.value)
    assert f'at iteration {bad} (epoch {1 + (bad - 1) // 7})' in text
    assert f'Key frames: {frames[bad - 1]}.' in text
    saved = {path.stem: torch.load(path) for path in tmp_path.glob('*_*.pth')}
    last = bad - 1 if by else (7 if bad > 7 else 0)
    assert max((c['meta']['iter'] for c in saved.values()), default=0) == last
    for checkpoint in saved.values():
        assert all(v.isfinite().all() for v in checkpoint['state_dict'].values())


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


WAITS = {
    torch.ops.aten._local_scalar_dense.default,  # item(), float(), bool(), if tensor
    torch.ops.aten.equal.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.masked_select.default,
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
def test_an_iteration_that_logs_nothing_waits_for_nothing(tmp_path, as_on_a_gpu, monkeypatch, amp):
    """Lines are written after iterations 1, 7 and 14; all hooks and gradient clipping are on."""
    counted = {}
    original = VideoTrainLoop.run_iter

    def run_iter(self, index, batch):
        quiet = self.iter not in (0, 6, 13)
        with HostWaits() if quiet else nullcontext() as waits:
            original(self, index, batch)
        if quiet:
            counted[self.iter] = waits

    monkeypatch.setattr(VideoTrainLoop, 'run_iter', run_iter)
    runner = train(tmp_path, validate=False, amp=amp)
    assert runner.optim_wrapper.clip_grad_kwargs
    assert len(counted) == 11 and all(waits.calls > 50 for waits in counted.values())
    assert {number: waits.found for number, waits in counted.items() if waits.found} == {}
    values = torch.ones(3)
    with HostWaits() as waits:  # the counter counts
        float(values[0]), values.cpu(), bool(values[1] > 0), values[values > 0]
    assert len(waits.found) == 4
