"""What every model shares: weights in the module, everything about a video in a state."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmdet.models import fused_conv, training_conv
from mmdet.models.batch import ClipBatch
from mmdet.models.detections import BatchDetections, PendingDetections
from mmdet.models.fold import fuse_conv_bn
from mmdet.models.static import StaticPart, TrainingGraphs
from mmdet.models.task_modules import nms_kernel
from mmdet.plans import Plan
from mmdet.registry import MODELS
from mmdet.structures import Clip, Detections

MODES = ('train', 'offline', 'causal')  # of plans


@dataclass
class VideoState:
    """What a model remembers of one video; made by `init_state`, passed to every `step`.

    `generator` is the only source of randomness at test time. It is seeded from (seed, video id),
    so results do not depend on the number of processes, the order of videos or what ran before.
    `contexts` holds the state of each context of the model, by its stage.
    """

    video_id: int
    generator: torch.Generator = field(repr=False)
    frame_size: tuple[int, int] | None = None  # (height, width) of the resized frames
    frames_seen: int = 0
    begun: bool = False  # its references were taken
    contexts: dict[str, Any] = field(default_factory=dict, repr=False)

    def admit(self, clip: Clip, fixed_size: bool) -> None:
        """Check that `clip` may follow what the state has seen.

        Raises:
            ValueError: the frame is of another video, or of another size where sizes must stay.
        """
        frame = clip.key
        if frame.video_id != self.video_id:
            raise ValueError(
                f'A frame of video {frame.video_id} came with the state of video {self.video_id}. '
                f'Call init_state(video_id={frame.video_id}) when a video starts.'
            )
        if fixed_size and self.frame_size not in (None, frame.img_shape):
            raise ValueError(
                f'Frame {frame.frame_id} of video {self.video_id} ({frame.path}) is '
                f'{frame.img_shape} (height, width) after resizing, its video began with '
                f'{self.frame_size}. Start a new state where the resolution changes.'
            )
        self.frame_size = frame.img_shape


class PendingResults:
    """The results of a `start`, in the order of its clips; `get` waits for them."""

    def __init__(
        self, clips: list[Clip], parts: list[tuple[list[Clip], PendingDetections]]
    ) -> None:
        self.clips, self.parts = clips, parts

    def get(self) -> list[Detections]:
        of_clip: dict[int, Detections] = {}
        for clips, pending in self.parts:
            of_clip.update(zip(map(id, clips), pending.get(), strict=True))
        return [of_clip[id(clip)] for clip in self.clips]


def video_generator(seed: int, video_id: int) -> torch.Generator:
    """A CPU generator that depends on nothing but (seed, video id)."""
    words = np.random.SeedSequence([seed, video_id % 2**63]).generate_state(2)
    return torch.Generator().manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)


class BaseVideoDetector(BaseModel):
    """A detector of frames, with or without memory of their videos.

    Subclasses implement `loss` and `detect_batch`.

    Attributes:
        fixed_size: the frames of a video must have one size.
        graphs: on a GPU, parts of fixed shapes are recorded and replayed as CUDA graphs.
    """

    fixed_size = False

    def __init__(self, data_preprocessor: dict | None = None, init_cfg: dict | None = None) -> None:
        # built by our registry: mmengine's knows ours only once a default scope is set
        if data_preprocessor is not None:
            data_preprocessor = MODELS.build(data_preprocessor)
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.graphs = False
        self._static_parts: dict[str, StaticPart] = {}

    # ---- which frames

    def plan(self, mode: str, ref_img_sampler: dict | None) -> Plan | None:
        """The references of a key frame in 'train', 'offline' or 'causal' mode; None: none.

        Args:
            ref_img_sampler: of the dataset's config.

        Raises:
            ConfigError: references of a kind that the method cannot use.
        """
        return None

    # ---- training

    def forward(self, batches: list[ClipBatch], mode: str = 'loss') -> dict[str, Tensor]:
        """Mean over clips of each clip's losses (the entry point of training)."""
        if mode != 'loss':
            raise ValueError(f'mode {mode!r}: only "loss" goes through forward, testing uses step.')
        num_clips = sum(len(batch) for batch in batches)
        total: dict[str, Tensor] = {}
        for batch in batches:
            for name, value in self.loss(batch).items():
                total[name] = total.get(name, 0.0) + value * (len(batch) / num_clips)
        return total

    def loss(self, batch: ClipBatch) -> dict[str, Tensor]:
        """Named scalars; those with "loss" in the name are summed and minimised."""
        raise NotImplementedError

    # ---- testing

    def init_state(self, video_id: int = 0, seed: int = 0) -> VideoState:
        """A fresh state for one video."""
        return VideoState(video_id, video_generator(seed, video_id))

    def step(self, clip: Clip, state: VideoState) -> tuple[Detections, VideoState]:
        """Detect on the key frame of `clip`. The first clip of a video carries its references."""
        return self.step_batch([clip], [state])[0], state

    def step_batch(self, clips: list[Clip], states: list[VideoState]) -> list[Detections]:
        """`step` for several clips; `states[i]` belongs to `clips[i]` and is updated in place.

        A state may appear several times; its clips are then taken in order.
        """
        return self.start(clips, states).get()

    def start(self, clips: list[Clip], states: list[VideoState]) -> PendingResults:
        """`step_batch` without waiting for a GPU: ask for the results when the next is started."""
        if self.training:
            raise RuntimeError('The model is in training mode. Call model.eval() before step().')
        state_of = {id(c): s for c, s in zip(clips, states, strict=True)}
        for clip in clips:
            state_of[id(clip)].admit(clip, self.fixed_size)
        parts = []
        with torch.inference_mode():
            for batch in self.data_preprocessor(clips)['batches']:
                detections = self.detect_batch(batch, [state_of[id(clip)] for clip in batch.clips])
                keys = [clip.key for clip in batch.clips]
                parts.append((batch.clips, PendingDetections(detections, keys)))
        for state in states:
            state.frames_seen += 1
        return PendingResults(clips, parts)

    def detect_batch(self, batch: ClipBatch, states: list[VideoState]) -> BatchDetections:
        """Detections on the key frame of each clip; updates the states in place."""
        raise NotImplementedError

    # ---- speed

    def prepare(
        self,
        dtype: torch.dtype = torch.float32,
        channels_last: bool | None = None,
        fold_bn: bool = True,
        graphs: bool = True,
    ) -> 'BaseVideoDetector':
        """Make the model ready for testing, once, after its weights are loaded. Training is over.

        Args:
            dtype: of the weights; layers that decide boxes and scores stay float32.
            channels_last: layout of convolutions' weights and maps. By default True, except for
                float32 on a GPU, where it is slower.
            fold_bn: fold batch norms into the convolutions before them.
            graphs: see the attribute.
        """
        self.eval()
        device = self.data_preprocessor.mean.device
        if channels_last is None:
            channels_last = device.type == 'cpu' or dtype != torch.float32
        if fold_bn:
            fuse_conv_bn(self)
        if fused_conv.usable(device, dtype):
            fused_conv.fuse_epilogues(self)
        exempt = _float32_tensors(self)
        with torch.no_grad():
            for parameter in self.parameters():
                if id(parameter) not in exempt:
                    parameter.data = parameter.data.to(dtype)
        if channels_last:
            self.to(memory_format=torch.channels_last)
        self.data_preprocessor.dtype = dtype
        self.data_preprocessor.channels_last = channels_last
        self.graphs = graphs and device.type == 'cuda' and nms_kernel.usable(device)
        self._forget_graphs()
        return self

    def lay_out(self, half_precision: bool, graphs: bool = False) -> None:
        """Make the model ready for training.

        Weights and maps are channels last on a CPU and in half precision, which convolutions there
        are made for; float32 on a GPU would be slower. On a CPU, `training_conv` takes over.

        Args:
            graphs: on a GPU, replay backbone and neck as CUDA graphs, forward and backward: for
                small batches, whose launches take the host longer than the GPU. Every size of
                images keeps its activations.
        """
        device = self.data_preprocessor.mean.device
        self.data_preprocessor.channels_last = device.type == 'cpu' or half_precision
        if device.type == 'cuda' and half_precision:
            self.to(memory_format=torch.channels_last)
        if not half_precision and device.type == 'cpu' and fused_conv.usable(device, torch.float32):
            training_conv.for_training(self)
        detector = getattr(self, 'detector', self)
        use = graphs and device.type == 'cuda'
        detector.training_graphs = TrainingGraphs(detector.backbone, detector.neck) if use else None

    def static(
        self, function: Callable[..., tuple[Tensor, ...]], *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        """Run a method whose shapes follow from its inputs', as a CUDA graph where there are any.

        What it returns is overwritten when the method is called again.
        """
        if not self.graphs:
            return function(*tensors)
        name = function.__name__
        if name not in self._static_parts:
            self._static_parts[name] = StaticPart(function, torch.cuda.graph_pool_handle())
        return self._static_parts[name](*tensors)

    def _forget_graphs(self) -> None:
        for part in self._static_parts.values():
            part.clear()
        self._static_parts = {}

    def train(self, mode: bool = True) -> 'BaseVideoDetector':
        if mode:
            self.graphs = False
            self._forget_graphs()
        return super().train(mode)

    def _apply(self, *args, **kwargs) -> nn.Module:
        self._forget_graphs()  # the weights may move
        return super()._apply(*args, **kwargs)


def _float32_tensors(model: nn.Module) -> set[int]:
    """Ids of the parameters that stay float32: those of layers that decide boxes and scores
    (`float32_layers` of a head), and of batch norms that were not folded."""
    exempt = set()
    for module in model.modules():
        layers = [getattr(module, name) for name in getattr(module, 'float32_layers', ())]
        layers += [module] if isinstance(module, nn.modules.batchnorm._BatchNorm) else []
        exempt |= {id(p) for layer in layers for p in layer.parameters()}
    return exempt
