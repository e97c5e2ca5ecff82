"""Video files with frames that can be told apart, and detectors that take milliseconds."""

import struct
import threading
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from mmengine.config import Config

from mmdet.apis import VideoDetector

CONFIGS = Path(__file__).resolve().parents[1] / 'configs/sample'
SIZE = (48, 64)  # height, width
B_FRAMES = {'bf': '3', 'g': '12', 'sc_threshold': '0', 'threads': '1'}


def scene(index: int, size: tuple[int, int] = SIZE, seed: int = 0) -> np.ndarray:
    """[H, W, 3] uint8 BGR: a smooth pattern that moves 3 pixels per frame."""
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 256, (6, 8, 3), np.uint8)
    whole = cv2.resize(low, size[::-1], interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(np.roll(whole, 3 * index, axis=1))


def scenes(count: int, size: tuple[int, int] = SIZE, seed: int = 0) -> list[np.ndarray]:
    return [scene(i, size, seed) for i in range(count)]


def write_video(
    path: Path,
    frames: list[np.ndarray],
    codec: str = 'libx264',
    options: dict | None = None,
    times_ms: list[int] | None = None,
    container_options: dict | None = None,
) -> Path:
    """Encode BGR frames at 25 fps, or at the times given."""
    with av.open(str(path), 'w', container_options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=25, options=options or B_FRAMES)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = 'yuv420p'
        if times_ms:
            stream.codec_context.time_base = Fraction(1, 1000)
        for i, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format='bgr24')
            if times_ms:
                frame.pts, frame.time_base = times_ms[i], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_frames(folder: Path, frames: list[np.ndarray]) -> Path:
    """PNG files, numbered without leading zeros."""
    folder.mkdir(parents=True)
    for i, frame in enumerate(frames):
        cv2.imwrite(str(folder / f'{i}.png'), frame)
    return folder


def broken_video(path: Path) -> Path:
    """A file of 30 frames of noise that was cut off after about 20 of them."""
    noise = np.random.default_rng(0).integers(0, 256, (30, *SIZE, 3), np.uint8)
    write_video(path, list(noise), container_options={'movflags': 'faststart'})
    path.write_bytes(path.read_bytes()[: int(0.7 * path.stat().st_size)])
    return path


def decode(path: Path) -> list[np.ndarray]:
    """All frames in order, by PyAV alone."""
    with av.open(str(path)) as container:
        return [f.to_ndarray(format='bgr24') for f in container.decode(video=0)]


def set_display_matrix(path: Path, a: int, b: int, c: int, d: int) -> None:
    """Overwrite the rotation of an mp4 (ISO 14496-12, 8.3.2), as phones set it."""
    data = bytearray(path.read_bytes())
    start = data.index(b'tkhd') + 4 + 40  # past flags, times, ids, duration, layer and volume
    assert struct.unpack_from('>9i', data, start) == (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    struct.pack_into('>9i', data, start, a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def tiny_config(method: str) -> Config:
    """A method of the sample configs, narrower, on frames of SIZE."""
    swin = method == 'tdvit'
    cfg = Config.fromfile(CONFIGS / f'{method}_{"tiny" if swin else "r18"}.py')
    detector = cfg.model.get('detector', cfg.model)
    if swin:
        detector.backbone.update(embed_dims=8, num_heads=(1, 2))
        detector.neck.in_channels = [16]
    else:
        detector.backbone.update(base_channels=4, norm_eval=True)
        detector.neck.in_channels = [32]
    detector.test_cfg.rpn.max_per_img = 20
    head = detector.roi_head.bbox_head
    head.fc_out_channels = 32
    if 'aggregator' in head:
        head.aggregator.update(in_channels=32)
    cfg.test_dataloader.dataset.pipeline[1].scale = SIZE[::-1]
    return cfg


def randomise(model: torch.nn.Module) -> None:
    """Random weights that make scores and boxes differ from frame to frame."""
    torch.manual_seed(0)
    for name, weight in model.named_parameters():
        if name.endswith(('fc_cls.weight', 'rpn_cls.weight', 'rpn_reg.weight')):
            torch.nn.init.normal_(weight, std=0.2)
        if name.endswith('bn2.weight'):  # zero at the start, which would cut the branch off
            torch.nn.init.ones_(weight)
        if name.endswith('conv2.weight') and not weight.any():  # the same, folded
            torch.nn.init.kaiming_normal_(weight)


def tiny_detector(method: str, score_thr: float = 0.05, **changes) -> VideoDetector:
    torch.manual_seed(0)
    cfg = tiny_config(method)
    cfg.merge_from_dict(changes)
    detector = VideoDetector(cfg, device='cpu', score_thr=score_thr)
    randomise(detector.model)
    return detector


class FakeCamera:
    """Three frames, then nothing; remembers whether it was released."""

    def __init__(self, number: int) -> None:
        self.number, self.left, self.released = number, 3, False

    def isOpened(self) -> bool:
        return self.number == 0

    def get(self, _key: int) -> float:
        return 15.0

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.left -= 1
        return self.left >= 0, scene(self.left)

    def release(self) -> None:
        self.released = True


def alive(name: str = 'prefetch') -> int:
    return sum(thread.name == name for thread in threading.enumerate())
