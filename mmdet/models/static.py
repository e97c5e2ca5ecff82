"""Parts of a model whose shapes do not depend on what is found, replayed as CUDA graphs.

A frame of MAMBA is some 700 kernel launches, which take the host longer than the GPU. Recorded once
per input shape, they are one launch. What is recorded must not make the host wait and must not
allocate outside of the graph's pool; inputs and outputs keep their addresses.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.func import functional_call

MAX_TRAINING_GRAPHS = 4  # sizes and numbers of images; each keeps its activations
MAX_GRAPHS = 12  # input shapes of one part that are recorded; others run as they are
WARM_UP = 2  # calls of a shape before it is recorded: kernels are chosen and compiled in these

_kept: list[list] = []  # what the graph that is being recorded needs beside its pool


def keep_alive(resource: Any) -> Any:
    """Tell a recording that a cached tensor is used, which may leave its cache before the graph."""
    if _kept:
        _kept[-1].append(resource)
    return resource


def is_recording() -> bool:
    """A graph is being recorded."""
    return bool(_kept)


@contextmanager
def passing_shapes() -> Iterator[None]:
    """For work whose shapes do not come again, such as the references of a video: cuDNN takes the
    algorithm that it expects to be good, and does not try them all first, which takes seconds."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def _recorded(name: str, record: Callable[[], Any]) -> Any:
    """What `record` makes; None where it fails, which is told and leaves nothing behind."""
    stream = torch.cuda.current_stream()
    try:
        return record()
    except RuntimeError as error:
        torch.cuda.set_stream(stream)  # a failed recording does not go back to it itself
        torch.cuda.synchronize()
        print_log(
            f'{name} cannot be recorded as a CUDA graph and runs as it is: '
            f'{str(error).splitlines()[0] if str(error) else error!r}',
            logger='current',
            level=logging.WARNING,
        )
        return None


class StaticPart:
    """A function of tensors that is recorded for each shape of its inputs, on a GPU.

    The outputs of a replay are overwritten by the next one: use or copy them before, on the same
    stream. `BaseVideoDetector.static` makes one where there is a GPU.

    Args:
        function: `(*tensors) -> tuple of tensors`, without host waits.
        pool: memory that the graphs of the part share; they never run at the same time.
    """

    def __init__(self, function: Callable[..., tuple[Tensor, ...]], pool: Any = None) -> None:
        self.function = function
        self.pool = pool
        self._graphs: dict[tuple, _Graph] = {}
        self._seen: dict[tuple, int] = {}
        self._refused = False

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        shape = tuple((x.shape, x.stride(), x.dtype) for x in inputs)
        graph = self._graphs.get(shape)
        if graph is not None:
            return graph.replay(inputs)
        self._seen[shape] = self._seen.get(shape, 0) + 1
        if self._refused or self._seen[shape] <= WARM_UP or len(self._graphs) >= MAX_GRAPHS:
            return self.function(*inputs)
        name = getattr(self.function, '__name__', 'a part of the model')
        graph = _recorded(name, lambda: _Graph(self.function, inputs, self.pool))
        if graph is None:
            self._refused = True
            return self.function(*inputs)
        self._graphs[shape] = graph
        return graph.replay(inputs)

    def clear(self) -> None:
        """Forget what was recorded: the weights have moved."""
        self._graphs.clear()
        self._seen.clear()


class _Graph:
    def __init__(self, function: Callable, inputs: tuple[Tensor, ...], pool: Any) -> None:
        self.inputs = [torch.empty_like(x).copy_(x) for x in inputs]
        self.graph = torch.cuda.CUDAGraph()
        self.kept: list = []
        function(*self.inputs)  # cuDNN looks for an algorithm by address, too
        _kept.append(self.kept)
        try:
            torch.cuda.synchronize()
            # other threads read and upload frames meanwhile, which a stricter mode would refuse
            with torch.cuda.graph(self.graph, pool=pool, capture_error_mode='thread_local'):
                self.outputs = function(*self.inputs)
        finally:
            _kept.pop()

    def replay(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        torch._foreach_copy_(self.inputs, inputs, non_blocking=True)
        self.graph.replay()
        return self.outputs


class TrainingGraphs:
    """Backbone and neck in training, forward and backward as one launch each, on a GPU.

    Sizes that come again and again are recorded. Each graph keeps the memory of its activations, so
    only a few are; other sizes run as they are.
    """

    def __init__(self, backbone: nn.Module, neck: nn.Module | None) -> None:
        self.parts = (backbone, neck)
        self._graphs: dict[tuple, Callable] = {}
        self._seen: dict[tuple, int] = {}

    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        half = torch.is_autocast_enabled('cuda')
        dtype = torch.get_autocast_dtype('cuda') if half else None
        shape = (images.shape, images.stride(), dtype)
        part = self._graphs.get(shape)
        if part is None:
            self._seen[shape] = self._seen.get(shape, 0) + 1
            if self._seen[shape] <= WARM_UP or len(self._graphs) >= MAX_TRAINING_GRAPHS:
                return _BackboneAndNeck(*self.parts)(images)
            name = 'backbone and neck in training'
            part = _recorded(name, lambda: self._record(images, dtype))
            part = self._graphs[shape] = part or _BackboneAndNeck(*self.parts)
        return part(images)

    def _record(self, images: Tensor, dtype: torch.dtype | None) -> Callable:
        part = _BackboneAndNeck(*self.parts)
        weights = {name: p for name, p in part.named_parameters() if p.requires_grad}
        # Whoever keeps an earlier loss, and DDP, keeps the nodes that add up the weights'
        # gradients; they belong to a stream that must not wait for a recording. So what is
        # recorded sees the same memory through tensors of its own.
        aliases = [p.detach().requires_grad_() for p in weights.values()]

        def run(images: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
            return functional_call(part, dict(zip(weights, tensors, strict=True)), (images,))

        # weights must be cast inside of the graph, not found in autocast's cache
        with torch.autocast('cuda', dtype=dtype, enabled=dtype is not None, cache_enabled=False):
            recorded = torch.cuda.make_graphed_callables(run, (images.clone(), *aliases))
        return lambda images: recorded(images, *weights.values())


class _BackboneAndNeck(nn.Module):
    def __init__(self, backbone: nn.Module, neck: nn.Module | None) -> None:
        super().__init__()
        self.backbone, self.neck = backbone, neck

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        maps = self.backbone(images)
        return tuple(self.neck(maps)) if self.neck is not None else tuple(maps)
