"""Slots of frames against a dict that keeps all frames."""

import torch

from mmdet.models.aggregators.regions import Regions
from mmdet.models.contexts.frame_ring import FrameRing

SLOTS, REGIONS, CHANNELS = 4, 3, 2


def frame(number: int, regions: int = REGIONS, valid: int = REGIONS) -> Regions:
    rows = number * 10.0 + torch.arange(regions * CHANNELS).view(regions, CHANNELS)
    boxes = number + torch.arange(regions * 4).view(regions, 4) / 100
    return Regions(rows, boxes, torch.arange(regions) < valid)


def contents(ring: FrameRing) -> list[list[float]]:
    """First numbers of the rows that exist, slot by slot."""
    rows, _, valid = ring.tensors()
    return [r[v][:, 0].tolist() for r, v in zip(rows, valid, strict=True)]


def test_the_last_frames_are_kept_each_in_its_slot():
    ring = FrameRing(SLOTS, REGIONS)
    for number in range(-3, 9):
        ring.put(number, frame(number))
        for kept in range(max(-3, number - SLOTS + 1), number + 1):
            found, expected = ring.get(kept), frame(kept)
            assert torch.equal(found.rows, expected.rows)
            assert torch.equal(found.boxes, expected.boxes)
            assert found.valid.all()


def test_tensors_never_grow_or_move():
    ring = FrameRing(SLOTS, REGIONS)
    ring.put(0, frame(0))
    before = [x.data_ptr() for x in ring.tensors()]
    for number in range(1, 50):
        ring.put(number, frame(number))
    assert [x.data_ptr() for x in ring.tensors()] == before
    shapes = [tuple(x.shape) for x in ring.tensors()]
    assert shapes == [(SLOTS, REGIONS, CHANNELS), (SLOTS, REGIONS, 4), (SLOTS, REGIONS)]


def test_slots_without_a_frame_do_not_exist():
    ring = FrameRing(SLOTS, REGIONS)
    ring.drop(3)  # before anything is there
    ring.put(1, frame(1))
    ring.put(2, frame(2, valid=1))
    assert contents(ring) == [[], [10.0, 12.0, 14.0], [20.0], []]
    ring.drop(5)
    assert contents(ring) == [[], [], [20.0], []]


def test_frames_with_fewer_and_more_regions():
    ring = FrameRing(2, REGIONS)
    ring.put(0, frame(0, 5, 5))
    ring.put(1, frame(1))
    ring.put(3, frame(3, 1, 1))
    assert contents(ring) == [[0.0, 2.0, 4.0], [30.0]]


def test_rows_keep_the_precision_of_the_first_frame():
    ring = FrameRing(2, REGIONS)
    first = frame(0)
    ring.put(0, Regions(first.rows.bfloat16(), first.boxes, first.valid))
    ring.put(1, frame(1))
    rows, boxes, _ = ring.tensors()
    assert rows.dtype == torch.bfloat16 and boxes.dtype == torch.float32
