"""When undecodable training frames are tolerated, and when they end the run."""

import logging

from mmengine.logging import print_log

from mmdet.core.errors import UndecodableFrameError

TOLERATED_SHARE = 0.001
MIN_SAMPLES = 1000
TOLERATED_FILES = 10


class FrameFaults:
    """Counts samples and undecodable frames of this process (each data worker has its own).

    A frame is reported once per file. Fatal: more than 0.1 % of the samples, from 1,000 samples on;
    before that, more than 10 different files.
    """

    def __init__(self):
        self.samples = self.faults = 0
        self.files: set[str] = set()

    def add_sample(self) -> None:
        self.samples += 1

    def add_fault(self, error: UndecodableFrameError) -> None:
        """Count a fault of the current sample.

        Raises:
            UndecodableFrameError: there were too many.
        """
        self.faults += 1
        if error.path not in self.files:
            self.files.add(error.path)
            # as an error: mmengine hides warnings on all ranks but the first
            message = f'{error}. Another sample takes its place.'
            print_log(message, logger='current', level=logging.ERROR)
        if self.samples < MIN_SAMPLES:
            too_many = len(self.files) > TOLERATED_FILES
        else:
            too_many = self.faults > TOLERATED_SHARE * self.samples
        if too_many:
            raise UndecodableFrameError(
                f'{self.faults} of {self.samples} training samples had frames that cannot be '
                f'decoded ({len(self.files)} files, the last one {error.path}); more than '
                f'{TOLERATED_SHARE:.1%} is not tolerated. Repair the files or take them out of '
                f'the annotation file.'
            ) from error
