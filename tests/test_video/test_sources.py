"""Sources: every frame, in order and by index, against what was written; damage; errors."""

import http.server
import threading
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
from tiny_streams import B_FRAMES, FakeCamera, decode, scene, scenes, write_frames, write_video

from mmdet.apis import VideoError
from mmdet.video import sources as video_sources
from mmdet.video.sources import open_source
from mmdet.video.video_file import VideoFile

FASTSTART = {'movflags': 'faststart'}  # the index of an mp4 first, so that a part of it opens


def images(source) -> list[np.ndarray]:
    return [frame.image for frame in source.frames()]


def closest_scenes(images: list[np.ndarray]) -> list[int]:
    count = len(images)
    errors = [[np.abs(x.astype(int) - scene(i)).mean() for i in range(count)] for x in images]
    return np.argmin(errors, axis=1).tolist()


FILES = {
    'refresh.mp4': ('libx264', {'bf': '0', 'x264-params': 'intra-refresh=1:keyint=12'}),
    'b.mp4': ('libx264', B_FRAMES),
    'open_gop.mp4': ('libx264', {**B_FRAMES, 'x264-params': 'open-gop=1:scenecut=0'}),
    'b.mkv': ('libx264', B_FRAMES),
    'mpeg4.avi': ('mpeg4', {'bf': '2', 'g': '12'}),
    'vp8.webm': ('libvpx', {'g': '12', 'deadline': 'realtime'}),
    'one_key.mp4': ('libx264', {'g': '1000', 'bf': '3'}),
}


@pytest.mark.parametrize('name', FILES)
def test_every_frame_is_found_again_in_any_order(tmp_path, name):
    count = 60 if name == 'refresh.mp4' else 21  # that one is whole only after 12 frames
    file = VideoFile(write_video(tmp_path / name, scenes(count), *FILES[name]))
    frames = list(file.frames())
    assert [f.index for f in frames] == list(range(count)) and file.count() == count
    assert closest_scenes([f.image for f in frames]) == list(range(count))
    order = np.random.default_rng(0).permutation(count).tolist()
    for index in [20, 0, 13, 12, 11, 11, *order, *range(count)]:
        assert np.array_equal(file.read(index), frames[index].image), index
    assert file.broken is None and file.fps == 25
    file.close()


def test_times_start_at_zero_also_at_a_variable_rate_and_with_a_stride(tmp_path):
    times = [0, 20, 110, 115, 300, 333, 400, 800, 810, 1000]
    file = VideoFile(write_video(tmp_path / 'vfr.mp4', scenes(10), times_ms=times))
    assert np.array_equal(file.read(9), decode(tmp_path / 'vfr.mp4')[9])  # before the frames
    found = [f.timestamp_s for f in file.frames()]
    assert found == pytest.approx([t / 1000 for t in times], abs=1e-3)
    path = write_video(tmp_path / 'a.ts', scenes(10))  # MPEG-TS clocks do not start at zero
    truth, file = decode(path), VideoFile(path)
    for index, frame in enumerate(file.frames(stride=4)):
        assert frame.index == 4 * index
        assert frame.timestamp_s == pytest.approx(0.16 * index, abs=1e-4)
        assert np.array_equal(frame.image, truth[frame.index])
        assert np.array_equal(file.read(9 - frame.index), truth[9 - frame.index])  # in between


def noisy_video(path: Path) -> Path:
    """Of 40 frames that take many bytes, so that the file is more than headers."""
    frames = np.random.default_rng(0).integers(0, 256, (40, 48, 64, 3), np.uint8)
    return write_video(path, list(frames), container_options=FASTSTART)


def test_damage_in_the_middle_costs_a_few_frames_and_a_cut_the_rest(tmp_path):
    path = noisy_video(tmp_path / 'a.mp4')
    whole, data = decode(path), path.read_bytes()
    middle = len(data) // 2
    path.write_bytes(data[:middle] + bytes(1500) + data[middle + 1500 :])
    file = VideoFile(path)
    left = images(file)
    assert 35 <= len(left) <= 40
    assert np.array_equal(left[0], whole[0]) and np.array_equal(left[-1], whole[-1])
    assert 'is damaged' in file.broken and 'frame' in file.broken
    path.write_bytes(data[: int(0.6 * len(data))])
    file = VideoFile(path)
    left = images(file)
    assert 15 < len(left) < 28
    assert all(map(np.array_equal, left[:-4], whole))  # the last group may lack frames
    assert f'breaks off after frame {len(left) - 1} (' in file.broken
    assert len(left) <= file.count() <= len(left) + 5
    assert file.read(file.count() - 1).shape == (48, 64, 3)  # a lost reference is replaced


# ---- images, arrays, cameras, addresses


def test_a_folder_is_read_in_natural_order_and_other_files_are_left_out(tmp_path):
    folder = write_frames(tmp_path / 'f', scenes(12))
    (folder / '.hidden.png').write_bytes(b'')
    (folder / 'notes.txt').write_text('no image')
    for name in (folder, f'{folder}/*.png'):
        source = open_source(name, fps=10)
        frames = list(source.frames())
        assert all(map(np.array_equal, [f.image for f in frames], scenes(12)))
        assert len(frames) == source.count() == source.num_frames == 12
        assert frames[11].timestamp_s == pytest.approx(1.1)
        assert np.array_equal(source.read(10), scene(10)) and source.frame_name(10) == '10.png'
    (folder / '2.png').write_bytes(b'')  # what is damaged is left out and named
    assert [f.index for f in source.frames()] == [0, 1, *range(3, 12)]
    assert '2.png' in source.broken and 'frame 2' in source.broken
    assert np.array_equal(source.read(2), scene(1))


def test_a_camera_is_released(monkeypatch):
    monkeypatch.setattr(video_sources.cv2, 'VideoCapture', FakeCamera)
    camera = open_source('0')
    assert camera.live and not camera.offline and len(images(camera)) == 3
    assert 'stopped after frame 2' in camera.broken
    camera.close()
    assert camera._device.released
    with pytest.raises(VideoError, match='Cannot open camera 3'):
        open_source(3)


def test_an_address_is_read_in_order_only(tmp_path):
    path = write_video(tmp_path / 'a.mp4', scenes(9), container_options=FASTSTART)
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        source = open_source(f'http://127.0.0.1:{server.server_port}/a.mp4')
        assert not source.offline and not source.live
        assert all(map(np.array_equal, images(source), decode(path))) and source.broken is None
        source.close()
        with pytest.raises(VideoError, match=r'Cannot open .*none\.mp4: .*Check the address'):
            open_source(f'http://127.0.0.1:{server.server_port}/none.mp4')
        server.shutdown()


# ---- what cannot be read


def test_sources_that_cannot_be_read(tmp_path):
    video = write_video(tmp_path / 'video.mp4', scenes(3)).read_bytes()
    (tmp_path / 'text.mp4').write_text('no video ' * 50)
    (tmp_path / 'no_index.mp4').write_bytes(video[:-700])
    codec = video.replace(b'avc1', b'zzzz').replace(b'avcC', b'zzzC')
    (tmp_path / 'codec.mp4').write_bytes(codec)
    (tmp_path / 'folder').mkdir()
    with av.open(str(tmp_path / 'sound.mp4'), 'w') as container:
        stream = container.add_stream('aac', rate=16000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), 'f4'), 'fltp', 'mono')
        sound.sample_rate = 16000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    wanted = {
        'text.mp4': 'Cannot open .* no video',
        'no_index.mp4': 'cut off before its index',
        'codec.mp4': 'no decoder for; convert it: ffmpeg',
        'sound.mp4': 'has no video stream',
        'folder': 'holds no image',
        'vidoe.mp4': r'vidoe.mp4 does not exist. Did you mean: video.mp4',
        'nowhere/a.mp4': 'does not exist, nor does its folder',
    }
    for name, text in wanted.items():
        with pytest.raises(VideoError, match=text):
            open_source(tmp_path / name)
    for source in (3.5, None, True):
        with pytest.raises(VideoError, match='A source is a path'):
            open_source(source)
    with pytest.raises(VideoError, match='fps must be above 0'):
        open_source(tmp_path, fps=0)
