"""Frames of video files and folders: extraction, order, sizes."""

import re
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from own_data import write_frames, write_images, write_video

from mmdet.core.errors import ConversionError
from mmdet.core.folders import walk_files
from mmdet.core.images import natural_key
from mmdet.programs.convert.frames import (
    extract_frames,
    find_frames,
    frames_of_video,
    image_size,
    images_in,
)
from mmdet.video.sources import open_source

ROTATIONS = {  # of a player, clockwise: the display matrix (a, b, u, c, d, v, x, y, w) of ISO 14496
    90: (0, 1, 0, -1, 0, 0),
    180: (-1, 0, 0, 0, -1, 0),
    270: (0, -1, 0, 1, 0, 0),
}


def test_natural_order():
    given = ['f10', 'f9', 'a/2', 'a/10/1', 'f010', 'b', '1', 'f']
    ordered = ['1', 'a/2', 'a/10/1', 'b', 'f', 'f9', 'f10', 'f010']
    assert sorted(given, key=natural_key) == ordered
    names = [f'{i}x{j}' for i in (1, 2, 10) for j in (1, 3, 20)]
    assert sorted(reversed(names), key=natural_key) == names


def test_frames_are_those_of_another_decoder(tmp_path):
    video = write_video(tmp_path / 'in/cam.mp4', 7)
    folder = tmp_path / 'out/sub/cam'
    assert extract_frames(video, folder) == 7
    files = images_in(folder)
    assert [path.name for path in files] == [f'{i:06d}.jpg' for i in range(7)]
    capture = cv2.VideoCapture(str(video))
    for i, path in enumerate(files):
        image, (_, expected) = cv2.imread(str(path)), capture.read()
        assert np.abs(image.astype(int) - expected).mean() < 2
        assert abs(image[40, 40].mean() - (20 + 10 * i)) < 6  # as it was written
    assert [path.name for path in (tmp_path / 'out/sub').iterdir()] == ['cam']


@pytest.mark.parametrize('degrees', ROTATIONS)
def test_videos_are_turned_as_players_do(tmp_path, degrees):
    video = write_video(tmp_path / 'cam.mp4', 1)
    data = bytearray(video.read_bytes())
    matrix = data.index(b'tkhd') + 44
    for i, value in enumerate(ROTATIONS[degrees]):
        data[matrix + 4 * i : matrix + 4 * i + 4] = (value << 16).to_bytes(4, 'big', signed=True)
    video.write_bytes(data)
    extract_frames(video, tmp_path / 'cam')
    image = cv2.imread(str(tmp_path / 'cam/000000.jpg')).mean(axis=2)
    height, width = image.shape
    assert (width, height) == ((64, 48) if degrees == 180 else (48, 64))
    # the white corner, at the top left when written
    where = {90: (4, -4), 180: (-4, -4), 270: (-4, 4)}[degrees]
    assert image[where] > 200 and (image > 200).sum() < 400


def test_extracted_frames_are_used_again(tmp_path):
    video = write_video(tmp_path / 'a/cam.mp4', 3)
    first = frames_of_video(video, tmp_path)
    assert first.name == 'a/cam' and first.fps == 10
    (tmp_path / 'a/cam/000002.jpg').write_bytes(b'touched')
    assert frames_of_video(video, tmp_path).files == first.files
    assert (tmp_path / 'a/cam/000002.jpg').read_bytes() == b'touched'
    elsewhere = frames_of_video(video, tmp_path / 'frames')  # the video may lie outside
    assert elsewhere.name == 'cam' and elsewhere.files[0].parent == tmp_path / 'frames/cam'


def broken(tmp_path, kind):
    path = tmp_path / 'cam.mp4'
    if kind == 'text':
        path.write_text('no video')
    elif kind == 'empty':
        path.touch()
    elif kind == 'no index':
        path.write_bytes(write_video(path, 5).read_bytes()[:100])
    else:
        with av.open(str(path), 'w', format='wav') as container:
            stream = container.add_stream('pcm_s16le', rate=8000)
            silence = np.zeros((1, 800), np.int16)
            frame = av.AudioFrame.from_ndarray(silence, format='s16', layout='mono')
            frame.sample_rate = 8000
            container.mux(stream.encode(frame))
    return path


@pytest.mark.parametrize('kind', ['text', 'empty', 'no index', 'sound'])
def test_files_that_are_no_video(tmp_path, kind):
    video = broken(tmp_path, kind)
    message = r'(Cannot open .*cam\.mp4|cam\.mp4 has no video stream)'
    with pytest.raises(ConversionError, match=message):
        extract_frames(video, tmp_path / 'cam')
    assert [path.name for path in tmp_path.iterdir()] == ['cam.mp4']


def test_a_folder_in_the_way_is_not_overwritten(tmp_path):
    video = write_video(tmp_path / 'cam.mp4', 1)
    (tmp_path / 'cam').mkdir()
    with pytest.raises(ConversionError, match='exists, but holds no images'):
        frames_of_video(video, tmp_path)


def test_damaged_videos_are_refused(tmp_path):
    """Cut off in its pictures: the labels would not fit the frames that are left."""
    video = write_video(tmp_path / 'cam.mp4', 30)
    data = video.read_bytes()
    video.write_bytes(data[: len(data) * 3 // 4])
    with pytest.raises(ConversionError, match=r'cam\.mp4 .* after frame \d+ .*repair it'):
        frames_of_video(video, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ['cam.mp4']


def test_image_sizes_with_orientation(tmp_path):
    write_images(tmp_path, ['a.jpg', 'b.png', 'c.bmp', 'd.webp'], size=(40, 24))
    for path in sorted(tmp_path.iterdir()):
        assert image_size(path) == (40, 24)
    data = (tmp_path / 'a.jpg').read_bytes()
    exif = b'Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0'
    turned = data[:2] + b'\xff\xe1' + (len(exif) + 2).to_bytes(2, 'big') + exif + data[2:]
    (tmp_path / 'e.jpg').write_bytes(turned)
    assert cv2.imread(str(tmp_path / 'e.jpg')).shape[:2] == (40, 24)  # height, width
    assert image_size(tmp_path / 'e.jpg') == (24, 40)
    (tmp_path / 'f.jpg').write_text('text')
    with pytest.raises(ConversionError, match=r'f\.jpg cannot be read as an image'):
        image_size(tmp_path / 'f.jpg')
    with pytest.raises(ConversionError, match=r'g\.jpg cannot be read'):
        image_size(tmp_path / 'g.jpg')


def test_hidden_files_are_no_frames(tmp_path):
    write_frames(tmp_path / 'v', 2)
    write_images(tmp_path / '__MACOSX/v', ['._000000.jpg'])
    (tmp_path / 'v/._000000.jpg').write_bytes(b'')
    (tmp_path / 'v/Thumbs.db').write_bytes(b'')
    assert [p.name for p in images_in(tmp_path / 'v')] == ['000000.jpg', '000001.jpg']
    names = [p.relative_to(tmp_path).as_posix() for p in walk_files(tmp_path)]
    assert names == ['v/000000.jpg', 'v/000001.jpg', 'v/Thumbs.db']


def test_the_first_place_that_has_frames(tmp_path):
    write_frames(tmp_path / 'b/cam', 1)
    write_video(tmp_path / 'b/other.MP4', 2)
    found = find_frames([tmp_path / 'a', tmp_path / 'b'], ['cam', 'other'], tmp_path)
    assert found.name == 'b/cam'
    found = find_frames([tmp_path / 'a', tmp_path / 'b'], ['other'], tmp_path)
    assert found.name == 'b/other' and len(found.files) == 2
    places = re.escape(f'{tmp_path / "a/x"}, {tmp_path / "b/x"}')
    with pytest.raises(ConversionError, match=f'at any of: {places}'):
        find_frames([tmp_path / 'a', tmp_path / 'b'], ['x'], tmp_path)


def names_of(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in walk_files(root)]


def test_links_give_a_folder_no_second_name(tmp_path):
    write_frames(tmp_path / 'd/v', 1)
    (tmp_path / 'd/v/up').symlink_to('..')  # to a folder above
    (tmp_path / 'd/v/self').symlink_to('.')
    (tmp_path / 'd/a_link').symlink_to('v')  # beside, and earlier in natural order
    (tmp_path / 'd/other').symlink_to(tmp_path / 'd')  # by its absolute path
    assert names_of(tmp_path / 'd') == ['v/000000.jpg']


def test_links_that_lead_elsewhere_are_followed_once(tmp_path):
    write_frames(tmp_path / 'store/v', 1)
    write_frames(tmp_path / 'd/w', 1)
    (tmp_path / 'd/v2').symlink_to(tmp_path / 'store/v')
    (tmp_path / 'd/v10').symlink_to(tmp_path / 'store/v')
    (tmp_path / 'd/w/file.jpg').symlink_to(tmp_path / 'store/v/000000.jpg')  # a file: as named
    (tmp_path / 'd/gone').symlink_to(tmp_path / 'nowhere')
    assert names_of(tmp_path / 'd') == ['gone', 'v2/000000.jpg', 'w/000000.jpg', 'w/file.jpg']
    (tmp_path / 'store/v/back').symlink_to(tmp_path / 'd')
    assert names_of(tmp_path / 'd') == ['gone', 'v2/000000.jpg', 'w/000000.jpg', 'w/file.jpg']


def test_a_pattern_takes_a_file_once(tmp_path):
    write_frames(tmp_path / 'd/v', 2)
    (tmp_path / 'd/v/up').symlink_to('..')
    (tmp_path / 'd/alias').symlink_to('v')
    source = open_source(str(tmp_path / 'd/**/*.jpg'))
    assert source.count() == 2
