"""Frames of video files and folders: extraction, order, sizes, and walking through folders."""

import cv2
import numpy as np
import pytest
from own_data import write_frames, write_video

from mmdet.core.errors import ConversionError
from mmdet.core.folders import walk_files
from mmdet.programs.convert.frame_folders import frames_of_video


def test_frames_are_extracted_once_and_are_those_of_another_decoder(tmp_path):
    video = write_video(tmp_path / 'a/cam.mp4', 7)
    extracted = frames_of_video(video, tmp_path)
    assert extracted.name == 'a/cam' and extracted.fps == 10
    assert extracted.files == [tmp_path / f'a/cam/{i:06d}.jpg' for i in range(7)]
    capture = cv2.VideoCapture(str(video))
    for i, path in enumerate(extracted.files):
        image, (_, expected) = cv2.imread(str(path)), capture.read()
        assert np.abs(image.astype(int) - expected).mean() < 2
        assert abs(image[40, 40].mean() - (20 + 10 * i)) < 6  # as it was written
    assert sorted(path.name for path in video.parent.iterdir()) == ['cam', 'cam.mp4']
    extracted.files[2].write_bytes(b'touched')
    assert frames_of_video(video, tmp_path).files == extracted.files
    assert extracted.files[2].read_bytes() == b'touched'


@pytest.mark.parametrize(
    ('part', 'message'),
    [
        (0, r'Cannot open .*cam\.mp4'),
        (0.75, r'cam\.mp4 .* after frame \d+ .*repair it'),  # labels would not fit what is left
        (1, 'cam exists, but holds no images'),  # a folder in the way
    ],
)
def test_videos_that_cannot_be_extracted_leave_nothing_behind(tmp_path, part, message):
    video = write_video(tmp_path / 'cam.mp4', 30)
    data = video.read_bytes()
    video.write_bytes(data[: int(len(data) * part)])
    if part == 1:
        (tmp_path / 'cam').mkdir()
    before = set(tmp_path.iterdir())
    with pytest.raises(ConversionError, match=message):
        frames_of_video(video, tmp_path)
    assert set(tmp_path.iterdir()) == before


def test_links_are_followed_once_and_hidden_files_are_no_frames(tmp_path):
    root = tmp_path / 'd'
    write_frames(tmp_path / 'store/v', 1)
    write_frames(root / 'v', 1)
    for place, up in (('v/up', '..'), ('other', root)):  # to folders above
        (root / place).symlink_to(up)
    for place in ('w2', 'w10'):  # twice outside
        (root / place).symlink_to(tmp_path / 'store/v')
    (root / 'v/._000000.jpg').write_bytes(b'')
    found = [path.relative_to(root).as_posix() for path in walk_files(root)]
    assert found == ['v/000000.jpg', 'w2/000000.jpg']
