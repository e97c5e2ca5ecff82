"""Videos: decoded again with PyAV and compared with what was written."""

from unittest.mock import Mock

import av
import numpy as np
import pytest

from mmdet.video.writer import VideoWriter


def frames(count: int, width: int = 64, height: int = 48) -> list[np.ndarray]:
    """Smooth pictures whose brightness tells the frame number."""
    ramp = np.linspace(0, 100, width, dtype=np.float32)[None].repeat(height, 0)
    picture = np.stack([ramp, ramp[:, ::-1], ramp * 0.5], axis=-1)
    return [(picture + 10 * i).astype(np.uint8) for i in range(count)]


def write(path, images, fps=25) -> None:
    with VideoWriter(path, fps) as writer:
        for image in images:
            writer.write(image)


def read(path) -> tuple[list[np.ndarray], dict]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        facts = dict(
            codec=stream.codec_context.name,
            fps=stream.average_rate,
            pixels=stream.codec_context.pix_fmt,
            seconds=float(container.duration / av.time_base),
        )
        decoded = list(container.decode(video=0))
        facts['keys'] = [i for i, f in enumerate(decoded) if f.key_frame]
        return [f.to_ndarray(format='bgr24') for f in decoded], facts


def names_in(folder) -> list[str]:
    return [p.name for p in folder.iterdir()]


@pytest.mark.parametrize(('width', 'height'), [(64, 48), (65, 49)])
def test_what_was_written_is_read_again(tmp_path, width, height):
    path, written = tmp_path / 'new folder' / 'out.mp4', frames(12, width, height)
    write(path, written)
    decoded, facts = read(path)
    assert (facts['codec'], facts['pixels'], facts['fps']) == ('h264', 'yuv420p', 25)
    assert facts['seconds'] == pytest.approx(12 / 25, abs=0.05)
    assert decoded[0].shape == (height + height % 2, width + width % 2, 3)
    data = path.read_bytes()
    assert 0 < data.index(b'moov') < data.index(b'mdat')  # so that browsers play while loading
    for image, again in zip(written, decoded, strict=True):
        again = again[:height, :width].astype(int)
        assert np.abs(again - image).mean() < 4  # right picture, right order
    for color in ((0, 0, 255), (0, 255, 0)):  # of another matrix (BT.601) they are off by over 20
        write(path, [np.full((64, 64, 3), color, np.uint8)] * 3)
        assert np.abs(read(path)[0][0].astype(int) - color).max() <= 8
    assert names_in(path.parent) == ['out.mp4']


def test_other_containers_and_key_frames_at_least_every_two_seconds(tmp_path):
    for ending in ('.mkv', '.MP4'):
        write(tmp_path / f'out{ending}', frames(5), 29.97)
        decoded, facts = read(tmp_path / f'out{ending}')
        assert len(decoded) == 5 and facts['fps'] == pytest.approx(29.97, abs=0.02)
    write(tmp_path / 'still.mp4', frames(1) * 35, 5)  # needs none of its own accord
    assert read(tmp_path / 'still.mp4')[1]['keys'] == [0, 10, 20, 30]


def test_an_interrupted_video_is_short_but_valid(tmp_path):
    with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / 'out.mp4', 25) as writer:
        for image in frames(7):
            writer.write(image)
        raise KeyboardInterrupt
    assert len(read(tmp_path / 'out.mp4')[0]) == 7 and names_in(tmp_path) == ['out.mp4']


def test_what_fails_leaves_an_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / 'out.mp4'
    path.write_bytes(b'old')
    with pytest.raises(KeyError), VideoWriter(path, 25):
        raise KeyError  # before the first frame
    writer = VideoWriter(path, 25)
    with pytest.raises(OSError, match='disk full'), writer:
        writer.write(frames(1)[0])
        monkeypatch.setattr(writer, '_finish', Mock(side_effect=OSError('disk full')))
    assert path.read_bytes() == b'old' and names_in(tmp_path) == ['out.mp4']


IMAGE = np.zeros((48, 64, 3), np.uint8)


@pytest.mark.parametrize(
    ('name', 'images', 'fps', 'message'),
    [
        ('out.mp4', [], 25, r'Not a single frame.*out\.mp4 was not written'),
        ('out.gif', [IMAGE], 25, r'container of .*out\.gif.*\.mp4, \.m4v'),
        ('out.mp4', [IMAGE, IMAGE[:, :32]], 25, r'Frame 1 is 32x48, but out\.mp4 is 64x48'),
        ('out.mp4', [IMAGE[..., 0]], 25, r'uint8 \[H, W, 3\].*uint8 \[48, 64\]'),
    ],
)
def test_errors_name_what_was_given(tmp_path, name, images, fps, message):
    with pytest.raises((ValueError, RuntimeError), match=message):
        write(tmp_path / name, images, fps)
    assert names_in(tmp_path) == (['out.mp4'] if len(images) == 2 else [])
