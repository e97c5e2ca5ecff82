"""Sources: every frame, in order and by index, against what was written; damage; errors."""

import http.server
import threading
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
from tiny_streams import (
    B_FRAMES,
    SIZE,
    FakeCamera,
    decode,
    scene,
    scenes,
    write_frames,
    write_video,
)

from mmdet.apis import VideoError
from mmdet.video import sources as video_sources
from mmdet.video.sources import open_source
from mmdet.video.video_file import VideoFile

FASTSTART = {'movflags': 'faststart'}  # the index of an mp4 first, so that a part of it opens


def images(source) -> list[np.ndarray]:
    return [frame.image for frame in source.frames()]


def closest_scenes(images: list[np.ndarray], count: int) -> list[int]:
    errors = [[np.abs(x.astype(int) - scene(i)).mean() for i in range(count)] for x in images]
    return np.argmin(errors, axis=1).tolist()


FILES = {
    'refresh.mp4': ('libx264', {'bf': '0', 'x264-params': 'intra-refresh=1:keyint=12'}),
    'b.mp4': ('libx264', B_FRAMES),
    'open_gop.mp4': ('libx264', {**B_FRAMES, 'x264-params': 'open-gop=1:scenecut=0'}),
    'b.mkv': ('libx264', B_FRAMES),
    'b.ts': ('libx264', B_FRAMES),
    'b.avi': ('libx264', B_FRAMES),
    'mpeg4.avi': ('mpeg4', {'bf': '2', 'g': '12'}),
    'raw.h264': ('libx264', B_FRAMES),
    'vp8.webm': ('libvpx', {'g': '12', 'deadline': 'realtime'}),
    'one_key.mp4': ('libx264', {'g': '1000', 'bf': '3'}),
}


@pytest.mark.parametrize('name', FILES)
def test_every_frame_is_found_again_in_any_order(tmp_path, name):
    count = 60 if name == 'refresh.mp4' else 21  # that one is whole only after 12 frames
    file = VideoFile(write_video(tmp_path / name, scenes(count), *FILES[name]))
    frames = list(file.frames())
    assert [f.index for f in frames] == list(range(count)) and file.count() == count
    assert closest_scenes([f.image for f in frames], count) == list(range(count))
    order = np.random.default_rng(0).permutation(count).tolist()
    for index in [20, 0, 13, 12, 11, 11, *order, *range(count)]:
        assert np.array_equal(file.read(index), frames[index].image), index
    assert file.broken is None and file.fps == 25
    file.close()


def test_a_read_may_come_before_the_frames_and_in_between(tmp_path):
    path = write_video(tmp_path / 'a.mp4', scenes(15))
    truth, file = decode(path), VideoFile(path)
    assert np.array_equal(file.read(14), truth[14])
    for frame in file.frames(stride=2):
        assert np.array_equal(frame.image, truth[frame.index])
        assert np.array_equal(file.read(14 - frame.index), truth[14 - frame.index])


def test_times_start_at_zero_also_at_a_variable_rate_and_with_a_stride(tmp_path):
    times = [0, 20, 110, 115, 300, 333, 400, 800, 810, 1000]
    file = VideoFile(write_video(tmp_path / 'vfr.mp4', scenes(10), times_ms=times))
    found = [f.timestamp_s for f in file.frames()]
    assert found == pytest.approx([t / 1000 for t in times], abs=1e-3)
    assert closest_scenes([file.read(i) for i in (9, 4, 0)], 10) == [9, 4, 0]
    path = write_video(tmp_path / 'a.ts', scenes(10))  # MPEG-TS clocks do not start at zero
    frames = list(VideoFile(path).frames(stride=4))
    assert [f.index for f in frames] == [0, 4, 8]
    assert [f.timestamp_s for f in frames] == pytest.approx([0, 0.16, 0.32], abs=1e-4)


def test_a_header_that_lies_does_not_change_the_count(tmp_path):
    path = write_video(tmp_path / 'a.avi', scenes(10), 'mpeg4', {'g': '5'})
    data = bytearray(path.read_bytes())
    # dwTotalFrames and dwLength
    for at in (data.index(b'avih') + 8 + 16, data.index(b'strh') + 8 + 32):
        assert data[at : at + 4] == (10).to_bytes(4, 'little')
        data[at : at + 4] = (500).to_bytes(4, 'little')
    path.write_bytes(data)
    file = VideoFile(path)
    assert file.num_frames == 500 and file.count() == 10 and file.num_frames == 10
    assert np.array_equal(file.read(9), decode(path)[9])
    assert len(images(file)) == 10 and 'breaks off after frame 9' in file.broken


def noisy_video(path: Path) -> Path:
    """Of 40 frames that take many bytes, so that the file is more than headers."""
    frames = np.random.default_rng(0).integers(0, 256, (40, *SIZE, 3), np.uint8)
    return write_video(path, list(frames), container_options=FASTSTART)


@pytest.mark.parametrize('name', ['a.mp4', 'a.mkv'])
def test_a_truncated_file_gives_what_is_left_and_says_where_it_breaks(tmp_path, name):
    path = noisy_video(tmp_path / name)
    whole, data = decode(path), path.read_bytes()
    path.write_bytes(data[: int(0.6 * len(data))])
    file = VideoFile(path)
    left = images(file)
    assert 15 < len(left) < 28
    assert all(map(np.array_equal, left[:-4], whole))  # the last group may lack frames
    assert f'breaks off after frame {len(left) - 1} (' in file.broken
    assert len(left) <= file.count() <= len(left) + 5
    for index in (0, 10, file.count() - 1):  # a lost reference is replaced by one beside it
        assert file.read(index).shape == (*SIZE, 3)


def test_damage_in_the_middle_costs_a_few_frames_only(tmp_path):
    path = noisy_video(tmp_path / 'a.mp4')
    whole, data = decode(path), bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 1500] = bytes(1500)
    path.write_bytes(data)
    file = VideoFile(path)
    left = images(file)
    assert 35 <= len(left) <= 40
    assert np.array_equal(left[0], whole[0]) and np.array_equal(left[-1], whole[-1])
    assert 'is damaged' in file.broken and 'frame' in file.broken


# ---- images, arrays, cameras, addresses


def test_a_folder_is_read_in_natural_order_and_other_files_are_left_out(tmp_path):
    folder = write_frames(tmp_path / 'f', scenes(12))
    (folder / '.hidden.png').write_bytes(b'')
    (folder / 'notes.txt').write_text('no image')
    for name in (folder, str(folder), f'{folder}/*.png', f'{folder}/**'):
        source = open_source(name, fps=10)
        frames = list(source.frames())
        assert all(map(np.array_equal, [f.image for f in frames], scenes(12)))
        assert len(frames) == source.count() == source.num_frames == 12
        assert frames[11].timestamp_s == pytest.approx(1.1)
        assert np.array_equal(source.read(10), scene(10)) and source.frame_name(10) == '10.png'
    assert [f.index for f in open_source(folder / '0.png').frames()] == [0]


def test_a_damaged_image_is_left_out_and_named(tmp_path):
    folder = write_frames(tmp_path / 'f', scenes(4))
    (folder / '2.png').write_bytes(b'')
    source = open_source(folder)
    assert [f.index for f in source.frames()] == [0, 1, 3]
    assert '2.png' in source.broken and 'frame 2' in source.broken
    assert np.array_equal(source.read(2), scene(1))


def test_arrays_are_rgb_and_are_copied():
    buffer = np.zeros((*SIZE, 3), np.uint8)

    def reusing():
        for red in range(3):
            buffer[..., 0] = red + 1
            yield buffer

    frames = list(open_source(reusing()).frames())
    assert [f.image[0, 0].tolist() for f in frames] == [[0, 0, 1], [0, 0, 2], [0, 0, 3]]
    assert [f.timestamp_s for f in frames] == pytest.approx([0, 0.04, 0.08])
    batch = np.zeros((5, *SIZE, 3), np.uint8)[:, :, ::-1]
    assert open_source(batch).num_frames == len(images(open_source(batch))) == 5


@pytest.mark.parametrize(
    'array, given',
    [
        (np.zeros((8, 8, 3), np.float32), 'float32 [8, 8, 3]'),
        (np.zeros((8, 8), np.uint8), 'uint8 [8, 8]'),
        (np.zeros((8, 8, 4), np.uint8), 'uint8 [8, 8, 4]'),
        (np.zeros((0, 8, 3), np.uint8), 'uint8 [0, 8, 3]'),
        ([1, 2], 'list'),
    ],
)
def test_wrong_arrays_are_refused_with_their_number(array, given):
    source = open_source([np.zeros((8, 8, 3), np.uint8), array])
    with pytest.raises(VideoError) as error:
        list(source.frames())
    assert f'Frame 1 is {given}' in str(error.value) and 'uint8' in str(error.value)


@pytest.mark.parametrize('number', [0, '0'])
def test_a_camera_by_number_or_digits(monkeypatch, number):
    monkeypatch.setattr(video_sources.cv2, 'VideoCapture', FakeCamera)
    camera = open_source(number)
    assert camera.live and not camera.offline and camera.fps == 15
    assert [f.index for f in camera.frames()] == [0, 1, 2]
    assert 'stopped after frame 2' in camera.broken
    camera.close()
    assert camera._device.released
    with pytest.raises(VideoError, match='Cannot open camera 3'):
        open_source(3)


@pytest.fixture
def server(tmp_path):
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{running.server_port}'
        running.shutdown()


def test_an_address_is_read_in_order_only(tmp_path, server):
    path = write_video(tmp_path / 'a.mp4', scenes(9), container_options=FASTSTART)
    source = open_source(f'{server}/a.mp4')
    assert not source.offline and not source.live
    assert all(map(np.array_equal, images(source), decode(path))) and source.broken is None
    source.close()
    with pytest.raises(VideoError, match=r'Cannot open .*none\.mp4: .*Check the address'):
        open_source(f'{server}/none.mp4')


# ---- what cannot be read


@pytest.fixture
def unreadable(tmp_path) -> Path:
    """A folder of one video and many files that are none."""
    video = write_video(tmp_path / 'video.mp4', scenes(3)).read_bytes()
    (tmp_path / 'empty.mp4').write_bytes(b'')
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
    return tmp_path


def test_sources_that_cannot_be_read(unreadable):
    wanted = {
        'empty.mp4': 'Cannot open .* cut off',
        'text.mp4': 'Cannot open .* no video',
        'no_index.mp4': 'cut off before its index',
        'codec.mp4': 'no decoder for; convert it: ffmpeg',
        'sound.mp4': 'has no video stream',
        'folder': 'holds no image',
        'vidoe.mp4': r'vidoe.mp4 does not exist. Did you mean: video.mp4',
        'nowhere/a.mp4': 'does not exist, nor does its folder',
        '*.mp4': r'matches no image. Give one of its videos at a time',
        '*.png': r'matches no image\.$',
    }
    for name, text in wanted.items():
        with pytest.raises(VideoError, match=text):
            open_source(unreadable / name)
    for source in (3.5, None, True, b'a.mp4', {'a': 1}):
        with pytest.raises(VideoError, match='A source is a path'):
            open_source(source)
    with pytest.raises(VideoError, match='fps must be above 0'):
        open_source(unreadable, fps=0)
