"""Small annotation files, results and ground truth for the tests of the evaluation."""

import json

import numpy as np
import torch

from mmdet.evaluation.ground_truth import GroundTruth
from mmdet.structures import Detections


def truth_of(gt, motion=None, classes=('a', 'b', 'c')):
    """GroundTruth of a list over images of lists of (label, xyxy box)."""
    objects = [(i, label, box) for i, per_image in enumerate(gt) for label, box in per_image]
    boxes = np.array([box for *_, box in objects], np.float32).reshape(-1, 4)
    sides = boxes[:, 2:] - boxes[:, :2]
    values = None if motion is None else np.array([m for per_image in motion for m in per_image])
    return GroundTruth(
        image_ids=np.arange(1, len(gt) + 1),
        classes=tuple(classes),
        category_ids=tuple(range(1, len(classes) + 1)),
        image=np.array([i for i, *_ in objects], np.int64),
        label=np.array([label for _, label, _ in objects], np.int64),
        boxes=boxes,
        area=sides.prod(axis=1).astype(np.float64),
        crowd=np.zeros(len(objects), bool),
        motion=values,
    )


def cocovid(path, videos, categories=('a', 'b'), tracks=True, size=(100, 80)):
    """Write a CocoVID file.

    Args:
        videos: name -> list over frames of lists of (category name, instance id, xywh box).
    """
    data = {'videos': [], 'images': [], 'annotations': []}
    data['categories'] = [{'id': k + 1, 'name': name} for k, name in enumerate(categories)]
    for v, (name, frames) in enumerate(videos.items(), 1):
        data['videos'].append({'id': v, 'name': name})
        for f, objects in enumerate(frames):
            image = len(data['images']) + 1
            place = {'id': image, 'video_id': v, 'frame_id': f, 'width': size[0], 'height': size[1]}
            data['images'].append(place | {'file_name': f'{name}/{f:06d}.JPEG'})
            for category, instance, box in objects:
                entry = {
                    'id': len(data['annotations']) + 1,
                    'image_id': image,
                    'video_id': v,
                    'category_id': categories.index(category) + 1,
                    'bbox': list(box),
                    'area': box[2] * box[3],
                    'iscrowd': False,
                }
                data['annotations'].append(entry | ({'instance_id': instance} if tracks else {}))
    path.write_text(json.dumps(data))
    return path


TWO_VIDEOS = {
    'val/one': [
        [('a', 1, (10, 10, 20, 20)), ('b', 2, (50, 40, 30, 20))],
        [('a', 1, (10, 10, 20, 20))],
        [],
    ],
    'val/two': [[('b', 3, (20, 20, 40, 40))], [('b', 3, (40, 20, 40, 40))]],
}


def perfect_results(videos, categories=('a', 'b'), score=0.9):
    """Nested lists with a detection on every object."""
    results = []
    for frames in videos.values():
        for objects in frames:
            per_class = [[] for _ in categories]
            for category, _, (x, y, w, h) in objects:
                per_class[categories.index(category)].append([x, y, x + w, y + h, score])
            results.append([np.array(rows, np.float32).reshape(-1, 5) for rows in per_class])
    return results


def detections_of(results, order=None):
    """Detections of images 1, 2, ... of nested lists, in that order or another one."""
    found = []
    for i in range(len(results)) if order is None else order:
        rows = torch.from_numpy(np.concatenate(results[i]))
        labels = np.repeat(np.arange(len(results[i])), [len(rows) for rows in results[i]])
        found.append(Detections(rows[:, :4], rows[:, 4], torch.from_numpy(labels), i + 1))
    return found
