"""`tools/test.py` from the command line to the results file."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from golden import load_module
from mmengine.config import Config
from tiny_detector import NARROW, NECK_INPUTS

from mmdet.models.detectors import FasterRCNN
from mmdet.registry import MODELS
from mmdet.structures import Clip, Frame

CLASSES = ('car', 'dog', 'zebra')


def run_test_command(repo: Path, work_dir: Path, config: Path, checkpoint: Path, **options) -> list:
    """The results file that the command writes; `options` with __ for dots."""
    out = work_dir / 'results.pkl'
    command = [sys.executable, 'tools/test.py', str(config), str(checkpoint)]
    command += ['--out', str(out), '--work-dir', str(work_dir), '--device', 'cpu']
    command += ['--cfg-options', *(f'{k.replace("__", ".")}={v}' for k, v in options.items())]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    run = subprocess.run(
        command, cwd=repo, env=environment, capture_output=True, text=True, timeout=900
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return pickle.loads(out.read_bytes())


def data_options(ann_file: Path, img_prefix: Path, cache_dir: Path) -> dict:
    return {
        'test_dataloader__dataset__ann_file': ann_file,
        'test_dataloader__dataset__img_prefix': img_prefix,
        'test_dataloader__dataset__cache_dir': cache_dir,
        'test_dataloader__dataset__pipeline__1__scale': '(320,192)',
        'test_dataloader__num_workers': 1,
    }


@pytest.mark.slow
def test_golden_detections_from_the_command_line(shared, repo, tmp_path):
    golden = shared / 'golden'
    config = repo / 'configs/vid/faster_rcnn/faster_rcnn_r50_fpn_3x.py'
    model = MODELS.build(Config.fromfile(config).model)
    weights = load_module(golden / 'weights.py').state_dict_for(model.state_dict(), fc_cls=3.0)
    checkpoint = tmp_path / 'golden.pth'
    torch.save(dict(meta=dict(), state_dict=weights), checkpoint)  # the container of 1.x
    root = golden / 'video/ILSVRC'
    ann_file = root / 'annotations/imagenet_vid_val.json'
    options = data_options(ann_file, root / 'Data/VID', tmp_path)
    results = run_test_command(repo, tmp_path, config, checkpoint, **options)
    compare = load_module(golden / 'compare.py')
    matched, _ = compare.matched_fraction(
        compare.load(str(golden / 'expected/frcnn_r50_fpn.npz')), results
    )
    assert matched >= 0.99


def write_videos(folder: Path) -> Path:
    """Two videos of noise (3 and 2 frames) whose image ids are not in the order of the file."""
    rng = np.random.default_rng(0)
    videos, images, annotations = [], [], []
    for video_id, (name, ids) in enumerate({'first': [4, 1, 5], 'second': [2, 3]}.items(), start=1):
        videos.append(dict(id=video_id, name=name))
        (folder / name).mkdir(parents=True)
        for frame_id, image_id in enumerate(ids):
            file_name = f'{name}/{frame_id:06d}.png'
            cv2.imwrite(str(folder / file_name), rng.integers(0, 256, (72, 128, 3), np.uint8))
            images.append(
                dict(id=image_id, video_id=video_id, frame_id=frame_id, file_name=file_name,
                     width=128, height=72)
            )  # fmt: skip
            annotations.append(
                dict(id=image_id, image_id=image_id, video_id=video_id, instance_id=video_id,
                     category_id=1, bbox=[10, 10, 40, 30], area=1200, iscrowd=0, ignore=False)
            )  # fmt: skip
    categories = [dict(id=i, name=name) for i, name in enumerate(CLASSES, start=1)]
    ann_file = folder / 'val.json'
    ann_file.write_text(
        json.dumps(
            dict(videos=videos, images=images, annotations=annotations, categories=categories)
        )
    )
    return ann_file


def narrow_config(repo: Path, folder: Path) -> Path:
    """A config file of the user's own, inheriting a published one: narrow, of three classes."""
    changes = {**NARROW, 'neck.in_channels': NECK_INPUTS['dc5']}
    cfg = Config.fromfile(repo / 'configs/vid/faster_rcnn/faster_rcnn_r50_dc5_3x.py')
    cfg.merge_from_dict({f'model.{key}': value for key, value in changes.items()})
    cfg.model.roi_head.bbox_head.num_classes = len(CLASSES)
    cfg.test_dataloader.dataset.classes = list(CLASSES)
    path = folder / 'narrow.py'
    cfg.dump(path)
    return path


def directly(model: FasterRCNN, ann_file: Path) -> list[list[np.ndarray]]:
    """What the model finds in each image, in ascending image id, without datasets and loops."""
    results = []
    for image in sorted(json.loads(ann_file.read_text())['images'], key=lambda image: image['id']):
        pixels = cv2.imread(str(ann_file.parent / image['file_name']))
        resized = cv2.resize(pixels, (320, 180))
        frame = Frame('x', video_id=0, img_shape=(180, 320), scale_factor=(2.5, 2.5))
        clip = Clip([frame], images=torch.from_numpy(resized)[None])
        detections, _ = model.step(clip, model.init_state())
        results.append(detections.per_class(len(CLASSES)))
    return results


@pytest.mark.slow
def test_results_file_equals_direct_calls_of_the_model(repo, tmp_path):
    ann_file, config = write_videos(tmp_path / 'videos'), narrow_config(repo, tmp_path)
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(config).model).eval()
    for layer in (model.rpn_head.rpn_cls, model.roi_head.bbox_head.fc_cls):
        torch.nn.init.normal_(layer.weight, std=0.5)
    checkpoint = tmp_path / 'narrow.pth'
    torch.save(dict(meta=dict(), state_dict=model.state_dict()), checkpoint)
    options = data_options(ann_file, ann_file.parent, tmp_path)
    results = run_test_command(repo, tmp_path, config, checkpoint, **options)
    expected = directly(model, ann_file)
    assert len(results) == len(expected) == 5
    for found, wanted in zip(results, expected, strict=True):
        assert [len(x) for x in found] == [len(x) for x in wanted]
        assert sum(map(len, found)) > 10
        for x, y in zip(found, wanted, strict=True):
            assert x.dtype == np.float32 and x.shape[1] == 5
            np.testing.assert_allclose(x, y, atol=1e-2)
