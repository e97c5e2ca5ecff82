"""Does our own code import, can it write and read video, and keep its caches?"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from diagnosis.finding import FAULT, NOTE, Finding, one_line
from diagnosis.machine import is_writable

PARTS = ('models', 'datasets', 'evaluation', 'engine.runner', 'apis')
FRAMES, SIZE = 6, (96, 64)  # width, height
GET_AV = 'pip install --force-reinstall av'


def check_parts() -> Iterator[Finding]:
    """What tools/train.py and tools/test.py import."""
    for part in PARTS:
        try:
            importlib.import_module(f'mmdet.{part}')
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            what = f'import mmdet.{part} fails: {one_line(error)}'
            yield Finding('import', what, FAULT, 'see the rows above')
            return
    yield Finding('import', f'mmdet.{", mmdet.".join(PARTS)}')


def check_caches() -> Iterator[Finding]:
    import torch

    from mmdet.datasets.parsers.index_cache import user_cache

    folders = {
        'index cache': (user_cache(), 'VFE_CACHE'),
        'weights cache': (Path(torch.hub.get_dir()) / 'checkpoints', 'TORCH_HOME'),
    }
    for name, (folder, variable) in folders.items():
        if is_writable(folder):
            yield Finding(name, str(folder))
        else:
            advice = f'export {variable}=DIR, a folder that can be written'
            yield Finding(name, f'{folder} cannot be written', NOTE, advice)


def check_video() -> Iterator[Finding]:
    """Writes a few frames with our writer and reads them again."""
    import av

    libraries = getattr(av, 'library_versions', {})
    codecs = '.'.join(map(str, libraries.get('libavcodec', ()))) or 'unknown'
    yield Finding('ffmpeg in PyAV', f'{av.ffmpeg_version_info}, libavcodec {codecs}')
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'try.mp4'
        try:
            _write(path)
        except Exception as error:
            yield Finding('write video', f'fails: {one_line(error)}', NOTE, GET_AV)
            return
        try:
            codec, error = _read(path)
        except Exception as failure:
            yield Finding('read video', f'fails: {one_line(failure)}', NOTE, GET_AV)
            return
    if codec == 'h264':
        yield Finding('write video', 'H.264 works')
    else:
        what = f'no H.264, but {codec}: browsers may not play it'
        yield Finding('write video', what, NOTE, GET_AV)
    if error:
        yield Finding('read video', error, NOTE, GET_AV)
    else:
        yield Finding('read video', f'{codec.replace("h264", "H.264")} works')


def _frames() -> list:
    """Frames [H, W, 3] of one colour each; colours of SD for those of HD are off by up to 13."""
    import numpy as np

    colors = [(30, 40 + 30 * i, 220 - 30 * i) for i in range(FRAMES)]
    return [np.full((SIZE[1], SIZE[0], 3), color, np.uint8) for color in colors]


def _write(path: Path) -> None:
    from mmdet.video.writer import VideoWriter

    with VideoWriter(path, fps=25) as writer:
        for frame in _frames():
            writer.write(frame)


def _read(path: Path) -> tuple[str, str]:
    """The codec, and what is wrong with the decoded frames ('' for nothing)."""
    import av
    import numpy as np

    with av.open(str(path)) as container:
        codec = container.streams.video[0].codec_context.name
        found = [frame.to_ndarray(format='bgr24') for frame in container.decode(video=0)]
    if len(found) != FRAMES:
        return codec, f'{len(found)} of {FRAMES} frames come back'
    pairs = zip(found, _frames(), strict=True)
    off = max(float(np.abs(a - b.astype(float)).mean()) for a, b in pairs)
    return codec, '' if off < 8 else f'frames come back changed by {off:.0f} of 255'
