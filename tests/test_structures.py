"""Frames of a clip, and conversions of detections against closed forms."""

import numpy as np
import torch

from mmdet.structures import Clip, Detections, Frame


def test_conversions_of_detections():
    found = Detections(
        boxes=torch.tensor([[10.0, 20.0, 30.5, 60.0], [0.0, 0.0, 1.0, 2.0]]),
        scores=torch.tensor([0.5, 0.25]),
        labels=torch.tensor([2, 0]),
        image_id=7,
    )
    assert found.to_dicts(['a', 'b', 'c']) == [
        {'name': 'c', 'label': 2, 'score': 0.5, 'box': [10.0, 20.0, 30.5, 60.0]},
        {'name': 'a', 'label': 0, 'score': 0.25, 'box': [0.0, 0.0, 1.0, 2.0]},
    ]
    assert found.to_coco()[0] == {
        'image_id': 7, 'category_id': 3, 'bbox': [10.0, 20.0, 20.5, 40.0], 'score': 0.5
    }  # fmt: skip
    assert found.to_coco(image_id=9)[1]['image_id'] == 9
    assert found.to_mot(frame=4)[0] == [4, -1, 10.0, 20.0, 20.5, 40.0, 0.5, 3, -1, -1]
    arrays = found.to_supervision()
    assert arrays['xyxy'].dtype == arrays['confidence'].dtype == np.float32
    assert arrays['xyxy'].shape == (2, 4) and arrays['class_id'].tolist() == [2, 0]
    empty = Detections()
    assert empty.to_dicts([]) == empty.to_coco() == empty.to_mot(1) == []
    assert empty.to_supervision()['xyxy'].shape == (0, 4)


def test_frames_of_a_clip_have_roles():
    """Whatever its frame was before, the first one is the key; places count from it."""
    clip = Clip([Frame('k'), *(Frame(r, role=r) for r in ('ref', 'prompt', 'ref', 'window'))])
    assert clip.key.role == 'key' and Frame('x').role == 'ref'
    assert [frame.path for frame in clip.refs] == ['ref', 'prompt', 'ref', 'window']
    assert clip.places('ref') == [1, 3] and clip.places('prompt', 'window') == [2, 4]
    assert clip.places('key') == [0] and clip.places('memory') == []
    assert [clip.row_of(place) for place in range(5)] == [0, 1, 2, 3, 4]
    assert Clip(clip.frames[:3], rows=[0, 1, 0]).row_of(2) == 0  # they may share an image


def test_arrays_of_each_class():
    found = Detections(
        boxes=torch.arange(12.0).reshape(3, 4),
        scores=torch.tensor([0.25, 0.75, 0.5]),
        labels=torch.tensor([2, 0, 2]),
    )
    arrays = found.per_class(4)
    assert [len(rows) for rows in arrays] == [1, 0, 2, 0]
    assert arrays[2].tolist() == [[8, 9, 10, 11, 0.5], [0, 1, 2, 3, 0.25]]  # best first
