"""Videos as cameras and recorders make them: mirrors, pixels that are not square, clocks, names."""

import json
import re
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from tiny_streams import decode, scenes, set_display_matrix, tiny_detector, write_video

from mmdet.apis.video_run import run_video
from mmdet.programs.convert.frame_folders import extract_frames
from mmdet.video.sources import open_source
from mmdet.video.video_file import VideoFile

COLOURS = {'R': (0, 0, 255), 'G': (0, 255, 0), 'B': (255, 0, 0), 'W': (255, 255, 255)}


def flag() -> np.ndarray:
    """[48, 64, 3] BGR: R top left, G top right, B bottom left, W bottom right."""
    image = np.zeros((48, 64, 3), np.uint8)
    image[:24, :32], image[:24, 32:] = COLOURS['R'], COLOURS['G']
    image[24:, :32], image[24:, 32:] = COLOURS['B'], COLOURS['W']
    return image


def corners(image: np.ndarray) -> str:
    """The letters of the colours at the top left, top right, bottom left and bottom right."""
    height, width = image.shape[:2]
    found = ''
    for y in (height // 8, height * 7 // 8):
        for x in (width // 8, width * 7 // 8):
            off = {n: np.abs(image[y, x].astype(int) - c).sum() for n, c in COLOURS.items()}
            found += min(off, key=off.get)
    return found


# (a, b, c, d): the stored point (x, y) is shown at (a x + c y, b x + d y), ISO 14496-12, 8.2.2
MATRICES = {
    (1, 0, 0, 1): 'RGBW',
    (-1, 0, 0, 1): 'GRWB',  # front cameras
    (0, 1, -1, 0): 'BRWG',  # a quarter clockwise: the left column becomes the top row
    (0, -1, 1, 0): 'GWRB',
}


@pytest.mark.parametrize('matrix', MATRICES)
def test_any_display_matrix_is_obeyed_by_every_reader(tmp_path, matrix):
    path = write_video(tmp_path / 'a.mp4', [flag()] * 4)
    set_display_matrix(path, *matrix)
    file, right = VideoFile(path), MATRICES[matrix]
    assert [corners(frame.image) for frame in file.frames()] == [right] * 4
    assert corners(file.read(2)) == right
    assert file.read(2).shape[:2] == ((48, 64) if matrix[0] else (64, 48))
    extract_frames(path, tmp_path / 'frames')
    assert corners(open_source(tmp_path / 'frames').read(1)) == right
    detector = tiny_detector('faster_rcnn', score_thr=1)  # nothing is drawn over the corners
    run_video(detector.stream(path), {'out': str(tmp_path / 'o.mp4')})
    assert corners(decode(tmp_path / 'o.mp4')[1]) == right


@pytest.mark.parametrize('ending', ['mp4', 'mkv'])
def test_drawn_videos_keep_the_time_of_every_frame(tmp_path, ending):
    varied_ms = [*range(0, 1200, 40), *range(1200, 7200, 200)]  # 30 frames at 25/s, 30 at 5/s
    path = write_video(tmp_path / 'a.mkv', scenes(60), times_ms=varied_ms)
    path = path.rename(tmp_path / '12:30 %03d.mkv')  # files may have any name
    out, lines = tmp_path / f'o:1.{ending}', tmp_path / 'o.jsonl'
    run_video(tiny_detector('faster_rcnn').stream(path), {'out': str(out), 'json': str(lines)})
    with av.open(str(out)) as container:
        times = [frame.time for frame in container.decode(video=0)]
        assert container.duration / av.time_base > 7.0  # the header promises all of it
    np.testing.assert_allclose(times, np.array(varied_ms) / 1000, atol=1e-3)
    told = [json.loads(line)['time_s'] for line in lines.read_text().splitlines()]
    np.testing.assert_allclose(told, times, atol=1e-3)


# ---- clocks


def test_a_transport_stream_that_was_joined_runs_on(tmp_path):
    """Two recordings one after the other, the second of which starts at another time."""
    options, joined = {'g': '12', 'bf': '0'}, tmp_path / 'joined.ts'
    for i in (0, 1):
        times = {'times_ms': [40_000 * i + 40 * k for k in range(10)]}
        part = write_video(tmp_path / f'{i}.ts', scenes(10, seed=i), options=options, **times)
        with open(joined, 'ab') as file:
            file.write(part.read_bytes())
    file = VideoFile(joined)
    frames = list(file.frames())
    np.testing.assert_allclose([f.timestamp_s for f in frames], np.arange(20) / 25, atol=0.021)
    assert np.all(np.diff([f.timestamp_s for f in frames]) > 0)
    assert file.count() == 20 and file.broken is None
    for index in (3, 13, 10, 0):  # by index as in order
        assert np.array_equal(file.read(index), frames[index].image)


# ---- names and disks


FULL_DISK = """
import resource, signal, sys
sys.path.insert(0, sys.argv[1])
from tiny_streams import tiny_detector
from mmdet.apis.video_run import run_video
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # a longer file fails as on a full disk
detector = tiny_detector('faster_rcnn', score_thr=0)
for kind in sys.argv[2:]:
    try: run_video(detector.stream('a.mp4'), {kind: kind + '.mp4'})
    except Exception as error: print(type(error).__name__, error)
"""


@pytest.mark.slow
def test_a_full_disk_is_one_sentence_and_leaves_nothing_half_written(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 48, 64, 3), np.uint8)
    write_video(tmp_path / 'a.mp4', list(noise))
    kinds = ['json', 'coco', 'mot', 'csv', 'out']
    for kind in kinds:
        (tmp_path / f'{kind}.mp4').write_text('old')
    command = [sys.executable, '-c', FULL_DISK, str(Path(__file__).parents[1]), *kinds]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    told = re.findall(r'^WriteError cannot write \S*?(\w+)\.mp4: File too large\. ', said, re.M)
    assert told == kinds
    found = {path.stem: path.read_text() for path in tmp_path.iterdir() if path.stem != 'a'}
    assert found.keys() == set(kinds) and found['out'] == found['coco'] == 'old'
    rows = [json.loads(line) for line in found['json'].splitlines()]
    assert [row['frame'] for row in rows] == list(range(len(rows))) and 0 < len(rows) < 40
    for kind in ('mot', 'csv'):  # what was done is there, in whole lines
        text = found[kind]
        assert text.endswith('\n') and len({line.count(',') for line in text.splitlines()}) == 1
