"""What becomes known of a training iteration only after it: a loss that is not finite, a signal.

On a GPU the host runs ahead of the device, and to look at a value is to wait for it. So what must
be known travels to the host while the next iterations run and is read some iterations later: by
then it has arrived, and no iteration waits.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from mmengine.dist import get_world_size
from torch import Tensor

from mmdet.core.errors import NonFiniteLossError

GPU_LAG = 2  # iterations that the host may be ahead; a CPU computes at once and has none


class HostCopy:
    """A small tensor on its way to the host; the source may change after this call."""

    def __init__(self, source: Tensor) -> None:
        self._host = torch.empty(source.shape, dtype=source.dtype, pin_memory=source.is_cuda)
        self._host.copy_(source, non_blocking=True)
        self._arrival = torch.cuda.Event() if source.is_cuda else None
        if self._arrival is not None:
            self._arrival.record()

    def read(self) -> list:
        """The values; waits where they have not arrived."""
        if self._arrival is not None:
            self._arrival.synchronize()
        return self._host.tolist()


@dataclass
class _Step:
    """An iteration that is not read yet; `flags` are [loss not finite, signal] over all ranks."""

    iteration: int
    epoch: int
    losses: Mapping[str, Tensor | float]
    frames: Sequence[str]
    flags: HostCopy


class StepWatch:
    """Reads, `lag` iterations late, what all ranks found in an iteration.

    Every rank adds the same iterations and reads at the same places, so that all of them stop after
    the same one.

    Args:
        device: of the losses.
        lag: iterations that are not read yet; None: 0 on a CPU, `GPU_LAG` elsewhere.

    Attributes:
        stop: number of the signal by which some rank was asked to stop; 0 as long as none was.
    """

    def __init__(self, device: torch.device, lag: int | None = None) -> None:
        self.device = device
        self.lag = (0 if device.type == 'cpu' else GPU_LAG) if lag is None else lag
        self.stop = 0
        self._steps: deque[_Step] = deque()

    def add(
        self,
        iteration: int,
        epoch: int,
        losses: Mapping[str, Tensor | float],
        frames: Sequence[str],
        signal: int = 0,
    ) -> None:
        """Note an iteration, counted from 1.

        Args:
            losses: scalars; `loss` is the one that must be finite. Empty: nothing was computed.
            frames: names of its key frames.
            signal: number of a signal that this rank got, else 0.
        """
        losses = {k: v.detach() if isinstance(v, Tensor) else v for k, v in losses.items()}
        loss = torch.as_tensor(losses.get('loss', 0.0), device=self.device)
        wrong = torch.isfinite(loss).logical_not().long()
        flags = torch.stack((wrong, torch.full_like(wrong, signal)))
        if get_world_size() > 1:
            dist.all_reduce(flags, dist.ReduceOp.MAX)  # with NCCL on the device: nothing waits
        self._steps.append(_Step(iteration, epoch, losses, frames, HostCopy(flags)))

    def settle(self) -> None:
        """Look at all iterations: before anything is saved, scored or ended."""
        self.read(lag=0)

    def read(self, lag: int | None = None) -> None:
        """Look at the iterations that are older than the lag; sets `stop`."""
        while len(self._steps) > (self.lag if lag is None else lag):
            step = self._steps.popleft()
            wrong, signal = step.flags.read()
            if wrong:
                raise NonFiniteLossError(_message(step))
            self.stop = self.stop or signal


def _message(step: _Step) -> str:
    values = {name: float(value) for name, value in step.losses.items()}
    if torch.isfinite(torch.tensor(values.get('loss', 0.0))):
        return (
            f'The loss of another process is not finite at iteration {step.iteration} (epoch '
            f'{step.epoch}); its message names the frames.'
        )
    listed = ', '.join(f'{name} {value:.6g}' for name, value in values.items())
    return (
        f'The loss is not finite at iteration {step.iteration} (epoch {step.epoch}): {listed}. '
        f'Key frames: {", ".join(step.frames) or "unknown"}. The last checkpoint is untouched. '
        f'Lower the learning rate, lengthen the warmup, or use --amp bf16 instead of fp16.'
    )
