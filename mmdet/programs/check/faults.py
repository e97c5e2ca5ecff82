"""What is wrong with a dataset: all of it counted, the first of each kind kept."""

from collections import Counter
from dataclasses import dataclass
from itertools import chain, islice, zip_longest

from mmdet.datasets.parsers import CocoVideoIndex

KEPT = 1000  # of each kind


@dataclass(frozen=True)
class Fault:
    """`check`: the kind of fault; `entry`: where it is, with its id; `rule`: what is wrong."""

    check: str
    entry: str
    rule: str

    def __str__(self) -> str:
        return f'{self.entry}: {self.rule}'


class FaultLog:
    """Faults as they are found.

    Attributes:
        counts: faults by kind.
        kept: the first `KEPT` of each kind, in the order they were found.
        notes: what the user should know, though it is no fault.
    """

    def __init__(self) -> None:
        self.counts: Counter = Counter()
        self.kept: list[Fault] = []
        self.notes: list[str] = []

    def add(self, check: str, entry: str, rule: str) -> None:
        self.counts[check] += 1
        if self.counts[check] <= KEPT:
            self.kept.append(Fault(check, entry, rule))

    def first(self, number: int) -> list[Fault]:
        """The first faults of every kind in turn, so that no kind hides another, by kind."""
        kinds = [[f for f in self.kept if f.check == check] for check in self.counts]
        in_turn = filter(None, chain.from_iterable(zip_longest(*kinds)))
        return sorted(islice(in_turn, number), key=self.kept.index)

    @property
    def total(self) -> int:
        return self.counts.total()


def image_entry(index: CocoVideoIndex, image: int) -> str:
    """What reports call the image at a position."""
    return f'image id {index.image_ids[image]} ({index.file_name(image)})'


def video_entry(index: CocoVideoIndex, video: int) -> str:
    return f'video id {index.video_ids[video]} ({index.video_name(video)})'
