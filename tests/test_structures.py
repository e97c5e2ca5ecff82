"""Conversions of detections against closed forms."""

import json

import numpy as np
import torch

from mmdet.structures import Detections


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
    json.dumps([found.to_dicts('abc'), found.to_coco(), found.to_mot(1)])
    empty = Detections()
    assert empty.to_dicts([]) == empty.to_coco() == empty.to_mot(1) == []
    assert empty.to_supervision()['xyxy'].shape == (0, 4)
