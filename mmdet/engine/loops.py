"""The training loop over epochs, and validation and testing of videos frame after frame."""

import signal
import threading
from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from mmengine.dist import get_dist_info, get_world_size
from mmengine.evaluator import Evaluator
from mmengine.runner.loops import BaseLoop
from torch import nn
from torch.utils.data import DataLoader

from mmdet.core.errors import ConfigError, NonFiniteLossError
from mmdet.core.progress import FrameProgress
from mmdet.engine.config_check import check_class_count
from mmdet.engine.data_loading import end_workers
from mmdet.engine.dist import dist_timeout
from mmdet.engine.optim import amp_dtype, autocast
from mmdet.engine.rng import get_rng_state, set_rng_state
from mmdet.engine.step_watch import StepWatch
from mmdet.evaluation.gather import cpu_group
from mmdet.registry import LOOPS
from mmdet.structures import Clip

SIGNALS = (signal.SIGTERM, signal.SIGINT)  # ask to stop


class TrainingInterrupted(SystemExit):
    """A signal asked to stop; the code is that of a process ended by it."""


def use_plans(model: nn.Module, dataset: Any, mode: str) -> None:
    """Give a data set, or each part of one, the model's plan of a mode: train, offline, causal."""
    model = getattr(model, 'module', model)
    if not hasattr(model, 'plan'):  # a model of somebody's own takes what the config says
        return
    for part in getattr(dataset, 'datasets', [dataset]):
        if hasattr(part, 'use_plan'):
            part.use_plan(model.plan(mode, part.ref_img_sampler))


@LOOPS.register_module()
class VideoTrainLoop(BaseLoop):
    """Trains for `max_epochs`; can start at any iteration of any epoch.

    The order of the data is a pure function of (seed, epoch, position), so that starting in the
    middle of an epoch costs nothing: `batch_sampler.set_position(epoch, start_batch)`.

    Args:
        val_interval: validate every so many epochs, and after the last.
        val_begin: the first epoch that may be validated.
    """

    def __init__(
        self,
        runner,
        dataloader: DataLoader | dict,
        max_epochs: int,
        val_interval: int = 1,
        val_begin: int = 1,
    ) -> None:
        super().__init__(runner, dataloader)
        check_class_count(runner.cfg.get('model'), self.dataloader.dataset, 'train_dataloader')
        use_plans(runner.model, self.dataloader.dataset, 'train')
        if len(self.dataloader) == 0:
            raise ConfigError('The training set gives no batch: its filters leave nothing.')
        self.max_epochs = int(max_epochs)
        self.max_iters = self.max_epochs * len(self.dataloader)
        self.val_interval = val_interval
        self.val_begin = val_begin
        self.epoch = 0
        self.iter = 0
        self.stop_training = False  # mmengine's EarlyStoppingHook sets it
        self.rng_state: dict | None = None  # set once the next epoch's data loader is running
        self.watch = StepWatch(runner.device)
        self._signal: int | None = None
        self._inside_epoch = False

    def set_position(self, epoch: int, iteration: int) -> None:
        """Start at `iteration` (counted from the beginning of training) in `epoch`."""
        self.epoch, self.iter = epoch, iteration

    def settle(self) -> None:
        """Called before a checkpoint is written; NonFiniteLossError: a loss was NaN or infinite."""
        self.watch.settle()

    def run(self) -> nn.Module:
        main = threading.current_thread() is threading.main_thread()  # others get no signals
        previous = {s: signal.signal(s, self._on_signal) for s in SIGNALS if main}
        try:
            self.runner.call_hook('before_train')
            while self.epoch < self.max_epochs and not self.stop_training:
                self.run_epoch()
                self._validate()
            self.runner.call_hook('after_train')
        except NonFiniteLossError:
            raise
        except (TrainingInterrupted, RuntimeError) as error:
            if self._signal is None:
                raise
            name = signal.Signals(self._signal).name
            self.runner.logger.warning(
                f'Stopped by {name} at iteration {self.iter}. The same command with '
                f'`--resume auto` goes on from the last checkpoint in {self.runner.work_dir}.'
            )
            # data workers that got the signal, too, surface as a RuntimeError
            raise TrainingInterrupted(128 + self._signal) from error
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            for loop in (self, self.runner._val_loop):
                if isinstance(loop, BaseLoop):
                    end_workers(loop.dataloader)
        return self.runner.model

    def run_epoch(self) -> None:
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        start = self.iter - self.epoch * len(self.dataloader)
        self._announce(start)
        self._inside_epoch = True
        for index, batch in enumerate(self._batches(start), start):
            self.run_iter(index, batch)
            if self.watch.stop:
                self._save_and_stop()
        self.watch.add(self.iter, self.epoch + 1, {}, [], self._signal or 0)  # late signals
        self.watch.settle()
        if self.watch.stop:
            self._save_and_stop()
        self._inside_epoch = False
        self.runner.call_hook('after_train_epoch')
        self.epoch += 1

    def run_iter(self, index: int, batch: list[Clip]) -> None:
        """One step of the optimizer; NonFiniteLossError: in this or, on a GPU, an earlier step,
        before anything of the step is saved."""
        self.runner.call_hook('before_train_iter', batch_idx=index, data_batch=batch)
        outputs = self.runner.model.train_step(batch, optim_wrapper=self.runner.optim_wrapper)
        frames = [clip.key.path for clip in batch if isinstance(clip, Clip)]
        self.watch.add(self.iter + 1, self.epoch + 1, outputs, frames, self._signal or 0)
        self.watch.read()
        self.runner.call_hook(
            'after_train_iter', batch_idx=index, data_batch=batch, outputs=outputs
        )
        self.iter += 1

    def _batches(self, start: int) -> Iterator[list[Clip]]:
        """The batches of this epoch from number `start` on."""
        sampler = self.dataloader.batch_sampler
        positioned = hasattr(sampler, 'set_position')
        if positioned:
            sampler.set_position(self.epoch, start)
        iterator = iter(self.dataloader)
        if not positioned:
            iterator = islice(iterator, start, None)
        if self.rng_state is not None:
            set_rng_state(self.rng_state)
            self.rng_state = None
        return iterator

    def _announce(self, start: int) -> None:
        workers = self.dataloader.num_workers
        if self.iter == 0 or start > 0:
            self.runner.logger.info(
                f'Epoch {self.epoch + 1} of {self.max_epochs}: starting {workers} data worker(s) '
                f'at batch {start + 1} of {len(self.dataloader)}; the first step takes longer'
            )

    def _validate(self) -> None:
        val_loop = self.runner.val_loop
        due = self.epoch % self.val_interval == 0 or self.epoch == self.max_epochs
        if val_loop is None or self.epoch < self.val_begin or not due:
            return
        state = get_rng_state()  # training is the same with and without validation
        val_loop.run()
        set_rng_state(state)

    def _on_signal(self, number: int, _frame: object) -> None:
        """Let the iteration end and save; outside of one, or asked twice, stop at once."""
        asked_before, self._signal = self._signal, number
        if asked_before or not self._inside_epoch:
            raise TrainingInterrupted(128 + number)

    def _save_and_stop(self) -> None:
        """What a signal to any rank asks for; all ranks are after the same iteration."""
        self._signal = self.watch.stop
        self.runner.call_hook('save_interrupted')
        raise TrainingInterrupted(128 + self._signal)


class _VideoPass(BaseLoop):
    """Runs the detector over every frame of a loader, one state per video."""

    what = 'Running'
    mode = 'test'

    def __init__(
        self,
        runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        amp: str | None = None,
        seed: int = 0,
        causal: bool = False,
    ) -> None:
        super().__init__(runner, dataloader)
        use_plans(runner.model, self.dataloader.dataset, 'causal' if causal else 'offline')
        check_class_count(
            runner.cfg.get('model'), self.dataloader.dataset, f'{self.mode}_dataloader'
        )
        self.evaluator = runner.build_evaluator(evaluator)
        self.evaluator.dataset_meta = getattr(self.dataloader.dataset, 'metainfo', None)
        self.amp = amp
        self.seed = seed

    def run(self) -> dict:
        """Metrics over the whole data set, the same on every rank."""
        with cpu_group(dist_timeout(self.runner.cfg)) as group:
            for metric in self.evaluator.metrics:
                metric.group = group
            self._hook('before', '')
            self._hook('before', '_epoch')
            self.run_frames()
            if get_world_size() > 1:
                self.runner.logger.info(
                    'Rank 0 has finished its frames and waits for the other ranks'
                )
            metrics = self.evaluator.evaluate(len(self.dataloader.dataset))
            self._hook('after', '_epoch', metrics=metrics)
            self._hook('after', '')
        return metrics

    def run_frames(self) -> None:
        model = self._ready_model()
        rank, world = get_dist_info()
        frames = len(self.dataloader.sampler)  # of this rank
        label = f'rank {rank} of {world}' if world > 1 else ''
        self.runner.logger.info(f'{self.what} {frames} frames; the first batch takes longer')
        videos = _RunningVideos(model, self.seed)
        running: tuple | None = None  # the batch before, whose results nobody has waited for yet
        with FrameProgress(frames, self.what, label) as progress:
            for index, clips in enumerate(self.dataloader):
                self._hook('before', '_iter', batch_idx=index, data_batch=clips)
                states = [videos.state_of(clip) for clip in clips]
                started = self._start(model, clips, states)
                self._finish(running, progress)
                running = (index, clips, started)
            self._finish(running, progress)

    def _ready_model(self) -> nn.Module:
        """The model in evaluation mode."""
        return getattr(self.runner.model, 'module', self.runner.model).eval()

    def _start(self, model: nn.Module, clips: list[Clip], states: list) -> Any:
        with torch.inference_mode(), autocast(self.amp, self.runner.device):
            return model.start(clips, states)

    def _finish(self, running: tuple | None, progress: FrameProgress) -> None:
        """Wait for the results of a batch and hand them on."""
        if running is None:
            return
        index, clips, started = running
        detections = started.get()
        self.evaluator.process(data_samples=detections, data_batch=clips)
        self._hook('after', '_iter', batch_idx=index, data_batch=clips, outputs=detections)
        progress.advance(len(clips))

    def _hook(self, when: str, stage: str, **kwargs) -> None:
        self.runner.call_hook(f'{when}_{self.mode}{stage}', **kwargs)


class _RunningVideos:
    """The states of the videos whose frames are coming, until their last frame has come."""

    def __init__(self, model: nn.Module, seed: int) -> None:
        self.model, self.seed = model, seed
        self._states: dict[int, tuple[Any, int]] = {}  # of a video id: state, frames to come
        self._carries = getattr(model, 'legacy_reset', False)  # a memory, from video to video
        self._before: Any = None  # the state of the video that began last

    def state_of(self, clip: Clip) -> Any:
        frame = clip.key
        fresh = self._states.get(frame.video_id)
        if fresh is None:
            state = self.model.init_state(video_id=frame.video_id, seed=self.seed)
            if self._carries:
                self.model.carry_over(state, self._before, frame.path)
                self._before = state
            fresh = (state, frame.video_length)
        state, to_come = fresh
        self._states[frame.video_id] = (state, to_come - 1)
        if to_come <= 1:
            del self._states[frame.video_id]
        return state


@LOOPS.register_module()
class VideoValLoop(_VideoPass):
    """Validation while training.

    Args:
        amp: 'bf16' or 'fp16' runs the model in mixed precision.
        causal: references come from the past only.
        seed: of the random draws of memories; results depend on (seed, video id) only.
    """

    what = 'Validating'
    mode = 'val'


@LOOPS.register_module()
class VideoTestLoop(_VideoPass):
    """Testing: the model is made ready for it once, and can then not be trained any more.

    Args:
        graphs: replay CUDA graphs on a GPU.
    """

    what = 'Testing'
    mode = 'test'

    def __init__(self, runner, *args, graphs: bool = True, **kwargs) -> None:
        super().__init__(runner, *args, **kwargs)
        self.graphs = graphs

    def run_frames(self) -> None:
        try:
            super().run_frames()
        finally:
            end_workers(self.dataloader)

    def _ready_model(self) -> nn.Module:
        model = super()._ready_model()
        model.prepare(amp_dtype(self.amp), graphs=self.graphs)
        return model

    def _start(self, model: nn.Module, clips: list[Clip], states: list) -> Any:
        return model.start(clips, states)
