"""A detector, data and a metric that are tiny but keep the contracts between the parts."""

import pickle
import random
from types import SimpleNamespace

import numpy as np
import torch
from mmengine.dist import all_gather_object, is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseDataPreprocessor, BaseModel
from torch import nn

from mmdet.registry import DATASETS, METRICS, MODELS
from mmdet.structures import Clip, Detections, Frame


@DATASETS.register_module()
class ToyClips:
    """`lengths` videos of 8x8 frames; a frame is a pure function of its key."""

    ann_file = 'toy.json'

    def __init__(self, lengths=(5, 3, 4), classes=('cat', 'dog'), test_mode=False):
        self.classes = tuple(classes)
        self.video_lengths = list(lengths)
        self.owners = [(v, f) for v, n in enumerate(lengths) for f in range(n)]
        self.aspect_flags = np.array([v % 2 for v, _ in self.owners], np.uint8)
        self.test_mode = test_mode

    def __len__(self):
        return len(self.owners)

    def __getitem__(self, key):
        index, seed = key if isinstance(key, tuple) else (key, 0)
        video, frame_id = self.owners[index]
        noise = np.random.default_rng((index, 0 if self.test_mode else seed))
        frame = Frame(
            path=f'{video}/{frame_id}.jpg',
            image_id=index + 1,
            video_id=video,
            frame_id=frame_id,
            video_length=self.video_lengths[video],
            ori_shape=(8, 8),
            img_shape=(8, 8),
        )
        pixels = noise.integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)
        return Clip([frame], images=torch.from_numpy(pixels))


@MODELS.register_module()
class ToyPreprocessor(BaseDataPreprocessor):
    def forward(self, data, training=False):
        images = torch.stack([clip.images[0] for clip in data]).to(self.device)
        return {'images': images.permute(0, 3, 1, 2).float() / 255}


@MODELS.register_module()
class ToyDetector(BaseModel):
    """Dropout draws from torch's generator, the loss from python's and numpy's."""

    def __init__(self, num_classes=2, width=4, explode_at=-1):
        super().__init__(data_preprocessor=MODELS.build(dict(type='ToyPreprocessor')))
        self.num_classes = num_classes
        self.conv1 = nn.Conv2d(3, width, 3)
        self.bn1 = nn.BatchNorm2d(width)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(width, 4 + num_classes)
        self.explode_at, self.calls = explode_at, 0

    def outputs(self, images):
        images = images.to(self.conv1.weight.dtype)
        return self.head(self.drop(self.bn1(self.conv1(images)).relu().mean((2, 3)))).float()

    def prepare(self, dtype=torch.float32, graphs=True):
        return self.eval().to(dtype)

    def forward(self, images, mode='loss'):
        self.calls += 1
        target = random.random() + np.random.rand()
        loss = (self.outputs(images) - target).square().mean()
        return {'loss_toy': loss * (float('nan') if self.calls == self.explode_at else 1.0)}

    def init_state(self, video_id=0, seed=0):
        return SimpleNamespace(video_id=video_id, memory=float(seed), frames=0)

    def step_batch(self, clips, states):
        return self.start(clips, states).get()

    @torch.inference_mode()
    def start(self, clips, states):
        found = []
        for clip, state in zip(clips, states, strict=True):
            assert clip.key.video_id == state.video_id
            assert clip.key.frame_id == state.frames
            row = self.outputs(self.data_preprocessor([clip])['images'])[0].cpu()
            state.memory = 0.5 * state.memory + float(row.sum())
            state.frames += 1
            boxes, label = row[None, :4] + state.memory, torch.zeros(1, dtype=torch.long)
            found.append(Detections(boxes, row[4:5].sigmoid(), label, clip.key.image_id))
        return SimpleNamespace(get=lambda: found)


@METRICS.register_module()
class ToyMetric(BaseMetric):
    """The mean score; writes all detections, by image id, to `out_file`."""

    def __init__(self, out_file=None, scale=1.0):
        super().__init__()
        self.out_file, self.scale = out_file, scale

    def process(self, data_batch, data_samples):
        assert [c.key.image_id for c in data_batch] == [d.image_id for d in data_samples]
        self.results.extend(data_samples)

    def compute_metrics(self, results):
        return {'toy/score': self.scale * float(torch.cat([d.scores for d in results]).mean())}

    def evaluate(self, size):
        parts = [d for part in all_gather_object(self.results) for d in part]
        self.results.clear()
        parts.sort(key=lambda d: d.image_id)
        assert [d.image_id for d in parts] == list(range(1, size + 1))
        if self.out_file and is_main_process():
            with open(self.out_file, 'wb') as file:
                pickle.dump([d.per_class(2) for d in parts], file)
        return self.compute_metrics(parts)
