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
    return GroundTruth(
        image_ids=np.arange(1, len(gt) + 1),
        classes=tuple(classes),
        category_ids=tuple(range(1, len(classes) + 1)),
        image=np.array([i for i, *_ in objects], np.int64),
        label=np.array([label for _, label, _ in objects], np.int64),
        boxes=boxes,
        area=(boxes[:, 2:] - boxes[:, :2]).prod(axis=1).astype(np.float64),
        crowd=np.zeros(len(objects), bool),
        motion=None if motion is None else np.array([m for image in motion for m in image]),
    )


def cocovid(path, videos, categories=('a', 'b'), tracks=True, size=(100, 80)):
    """Write a CocoVID file.

    Args:
        videos: name -> list over frames of lists of (category name, instance id, xywh box).
    """
    images, annotations = [], []
    for v, (video, frames) in enumerate(videos.items(), 1):
        for f, objects in enumerate(frames):
            image = dict(id=len(images) + 1, file_name=f'{video}/{f:06d}.JPEG')
            images.append(image | dict(video_id=v, frame_id=f, width=size[0], height=size[1]))
            for category, instance, box in objects:
                place = dict(id=len(annotations) + 1, image_id=image['id'], video_id=v)
                shape = dict(bbox=list(box), area=box[2] * box[3], iscrowd=False)
                kind = dict(category_id=categories.index(category) + 1)
                kind |= {'instance_id': instance} if tracks else {}
                annotations.append(place | shape | kind)
    names = {'videos': videos, 'categories': categories}
    tables = {k: [{'id': i, 'name': n} for i, n in enumerate(v, 1)] for k, v in names.items()}
    path.write_text(json.dumps(tables | dict(images=images, annotations=annotations)))
    return path


STILL, MOVED = ('a', 1, (10, 10, 20, 20)), ('b', 2, (50, 40, 30, 20))
TWO_VIDEOS = {
    'val/one': [[STILL, MOVED], [STILL], []],
    'val/two': [[('b', 3, (20, 20, 40, 40))], [('b', 3, (40, 20, 40, 40))]],
}


def perfect_results(videos=TWO_VIDEOS, categories=('a', 'b'), score=0.9):
    """Nested lists with a detection on every object."""
    results = []
    for objects in [objects for frames in videos.values() for objects in frames]:
        per_class = [[] for _ in categories]
        for category, _, (x, y, w, h) in objects:
            per_class[categories.index(category)].append([x, y, x + w, y + h, score])
        results.append([np.array(rows, np.float32).reshape(-1, 5) for rows in per_class])
    return results


def detections_of(results, order):
    """Detections of images 1, 2, ... of nested lists, in the order of their places."""
    found = []
    for i in order:
        rows = torch.from_numpy(np.concatenate(results[i]))
        labels = np.repeat(np.arange(len(results[i])), [len(rows) for rows in results[i]])
        found.append(Detections(rows[:, :4], rows[:, 4], torch.from_numpy(labels), i + 1))
    return found
