"""The training loop over epochs, and validation and testing of videos frame after frame."""

import math
import signal
import threading
from collections.abc import Iterator
from itertools import islice

import torch
from mmengine.dist import all_reduce, get_dist_info, get_world_size
from mmengine.evaluator import Evaluator
from mmengine.runner.loops import BaseLoop
from torch import nn
from torch.utils.data import DataLoader

from mmdet.core.errors import ConfigError, NonFiniteLossError
from mmdet.core.progress import FrameProgress
from mmdet.engine.amp import autocast
from mmdet.engine.config_check import check_class_count
from mmdet.engine.rng import get_rng_state, set_rng_state
from mmdet.registry import LOOPS
from mmdet.structures import Clip, Detections

SIGNALS = (signal.SIGTERM, signal.SIGINT)  # ask to stop


class TrainingInterrupted(SystemExit):
    """A signal asked to stop; the code is that of a process ended by it."""


@LOOPS.register_module()
class VideoTrainLoop(BaseLoop):
    """Trains for `max_epochs`; can start at any iteration of any epoch.

    The order of the data is a pure function of (seed, epoch, position), so that starting in the
    middle of an epoch costs nothing: `batch_sampler.set_position(epoch, start_batch)`.

    Args:
        runner: the VideoRunner.
        dataloader: a DataLoader or its config.
        max_epochs: epochs to train in all.
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
        self._signal: int | None = None
        self._inside_epoch = False

    def set_position(self, epoch: int, iteration: int) -> None:
        """Start at `iteration` (counted from the beginning of training) in `epoch`."""
        self.epoch, self.iter = epoch, iteration

    def run(self) -> nn.Module:
        main = threading.current_thread() is threading.main_thread()  # others get no signals
        previous = {s: signal.signal(s, self._on_signal) for s in SIGNALS if main}
        try:
            self.runner.call_hook('before_train')
            while self.epoch < self.max_epochs and not self.stop_training:
                self.run_epoch()
                self._validate()
            self.runner.call_hook('after_train')
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
        return self.runner.model

    def run_epoch(self) -> None:
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        start = self.iter - self.epoch * len(self.dataloader)
        self._announce(start)
        self._inside_epoch = True
        for index, batch in enumerate(self._batches(start), start):
            self.run_iter(index, batch)
            if self._asked_to_stop():
                self.runner.call_hook('save_interrupted')
                raise TrainingInterrupted(128 + self._signal)
        self._inside_epoch = False
        self.runner.call_hook('after_train_epoch')
        self.epoch += 1

    def run_iter(self, index: int, batch: list[Clip]) -> None:
        """One step of the optimizer.

        Raises:
            NonFiniteLossError: before anything of this step is logged or saved.
        """
        self.runner.call_hook('before_train_iter', batch_idx=index, data_batch=batch)
        outputs = self.runner.model.train_step(batch, optim_wrapper=self.runner.optim_wrapper)
        self._check_finite(outputs, batch)
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

    def _check_finite(self, outputs: dict, batch: list[Clip]) -> None:
        if math.isfinite(_number(outputs['loss'])):
            return
        values = ', '.join(f'{name} {_number(value):.6g}' for name, value in outputs.items())
        frames = ', '.join(clip.key.path for clip in batch if isinstance(clip, Clip))
        raise NonFiniteLossError(
            f'The loss is not finite at iteration {self.iter + 1} (epoch {self.epoch + 1}): '
            f'{values}. Key frames: {frames or "unknown"}. The last checkpoint is untouched. '
            f'Lower the learning rate, lengthen the warmup, or use --amp bf16 instead of fp16.'
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

    def _asked_to_stop(self) -> bool:
        """Whether any rank got a signal; all ranks agree after the same iteration."""
        if get_world_size() == 1:
            return self._signal is not None
        number = torch.tensor([self._signal or 0])
        all_reduce(number, 'max')
        self._signal = int(number) or None
        return self._signal is not None


def _number(value: torch.Tensor | float) -> float:
    return float(value.detach() if isinstance(value, torch.Tensor) else value)


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
    ) -> None:
        super().__init__(runner, dataloader)
        check_class_count(
            runner.cfg.get('model'), self.dataloader.dataset, f'{self.mode}_dataloader'
        )
        self.evaluator = runner.build_evaluator(evaluator)
        self.evaluator.dataset_meta = getattr(self.dataloader.dataset, 'metainfo', None)
        self.amp = amp
        self.seed = seed

    def run(self) -> dict:
        """Metrics over the whole data set, the same on every rank."""
        self._hook('before', '')
        self._hook('before', '_epoch')
        self.run_frames()
        if get_world_size() > 1:
            self.runner.logger.info('Rank 0 has finished its frames and waits for the other ranks')
        metrics = self.evaluator.evaluate(len(self.dataloader.dataset))
        self._hook('after', '_epoch', metrics=metrics)
        self._hook('after', '')
        return metrics

    def run_frames(self) -> None:
        model = getattr(self.runner.model, 'module', self.runner.model)
        model.eval()
        rank, world = get_dist_info()
        frames = self._count_frames()
        label = f'rank {rank} of {world}' if world > 1 else ''
        self.runner.logger.info(f'{self.what} {frames} frames; the first batch takes longer')
        video, state = None, None
        with FrameProgress(frames, self.what, label) as progress:
            for index, clips in enumerate(self.dataloader):
                self._hook('before', '_iter', batch_idx=index, data_batch=clips)
                states = []
                for clip in clips:
                    if state is None or clip.key.video_id != video:
                        video = clip.key.video_id
                        state = model.init_state(video_id=video, seed=self.seed)
                    states.append(state)
                detections = self._step(model, clips, states)
                self.evaluator.process(data_samples=detections, data_batch=clips)
                self._hook('after', '_iter', batch_idx=index, data_batch=clips, outputs=detections)
                progress.advance(len(clips))

    def _step(self, model: nn.Module, clips: list[Clip], states: list) -> list[Detections]:
        with torch.inference_mode(), autocast(self.amp, self.runner.device):
            return model.step_batch(clips, states)

    def _count_frames(self) -> int:
        """Frames of this rank."""
        sampler = getattr(self.dataloader, 'sampler', None)
        return len(sampler) if sampler is not None else len(self.dataloader)

    def _hook(self, when: str, stage: str, **kwargs) -> None:
        self.runner.call_hook(f'{when}_{self.mode}{stage}', **kwargs)


@LOOPS.register_module()
class VideoValLoop(_VideoPass):
    """Validation while training.

    Args:
        runner: the VideoRunner.
        dataloader, evaluator: built, or their configs.
        amp: 'bf16' or 'fp16' runs the model in mixed precision.
        seed: of the random draws of memories; results depend on (seed, video id) only.
    """

    what = 'Validating'
    mode = 'val'


@LOOPS.register_module()
class VideoTestLoop(_VideoPass):
    """Testing; takes the same arguments as VideoValLoop."""

    what = 'Testing'
    mode = 'test'
