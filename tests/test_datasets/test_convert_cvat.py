"""CVAT XML 1.1, for video and for images, to CocoVID: by hand, real variants, bad inputs."""

from functools import partial

import pytest
from own_data import boxes, frames, names, write, write_frames, write_images, write_video


def task(size=4, name='night', source='cam.mp4', number=1, width=64, more=''):
    return (
        f'<task><id>{number}</id><name>{name}</name><size>{size}</size>{more}<labels>'
        f'<label><name>cat</name></label><label><name>dog</name><attributes><attribute><name>colour'
        f'</name></attribute></attributes></label></labels><original_size><width>{width}</width>'
        f'<height>48</height></original_size><source>{source}</source></task>'
    )


def document(*elements, meta=None):
    meta = task() if meta is None else meta
    head = '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>'
    return f'{head}<meta>{meta}<dumped>now</dumped></meta>{"".join(elements)}</annotations>'


def track(number, label, *shapes, more=''):
    return f'<track id="{number}" label="{label}" source="manual"{more}>{"".join(shapes)}</track>'


def box(frame, x1, y1, x2, y2, outside=0, occluded=0, keyframe=1, more=''):
    return (
        f'<box frame="{frame}" keyframe="{keyframe}" outside="{outside}" occluded="{occluded}" '
        f'xtl="{x1}" ytl="{y1}" xbr="{x2}" ybr="{y2}" z_order="0"{more}>'
        f'<attribute name="colour">red</attribute></box>'
    )


@pytest.fixture
def cvat(tmp_path, convert):
    """Converts a document of these elements, written beside the frames."""

    def converted(*elements, meta=None):
        write(tmp_path, {'annotations.xml': document(*elements, meta=meta)})
        return convert('cvat', tmp_path / 'annotations.xml')

    return converted


GOOD = track(0, 'cat', box(0, 0, 0, 9, 9))


def test_every_frame_written_as_cvat_exports_it(tmp_path, cvat):
    write_video(tmp_path / 'cam.mp4', 4)
    leaves = box(0, 0, 0, 10.5, 10), box(1, 1, 0, 11.5, 10, keyframe=0, occluded=1)
    returns = box(1, 0, 0, 9, 9), box(2, 5, 5, 9, 9, outside=1), box(3, 8, 8, 20, 20)
    content = cvat(
        track(0, 'dog', *leaves, box(2, 2, 0, 12.5, 10, outside=1)), track(1, 'cat', *returns)
    )
    assert names(content) == ['cat', 'dog']  # the order of the labels
    assert frames(content) == [('cam', i, f'cam/{i:06d}.jpg') for i in range(4)]
    assert boxes(content) == [
        ('cam', 0, 'dog', 1, [0, 0, 10.5, 10]),
        ('cam', 1, 'dog', 1, [1, 0, 10.5, 10]),
        ('cam', 1, 'cat', 2, [0, 0, 9, 9]),
        ('cam', 3, 'cat', 2, [8, 8, 12, 12]),
    ]
    flags = [(a['generated'], a['occluded']) for a in content['annotations']]
    assert flags == [(False, False), (True, True), (False, False), (False, False)]


def test_key_frames_only_are_interpolated(tmp_path, cvat, capsys):
    write_frames(tmp_path / 'cam', 6)
    content = cvat(
        track(7, 'cat', box(0, 0, 0, 10, 10, occluded=1), box(4, 8, 4, 30, 10)),
        track(8, 'cat', box(1, 0, 0, 10, 10), box(3, 4, 0, 14, 10, outside=1)),
        track(9, 'cat', '<points frame="0" points="3,4"/>'),
        meta=task(6),
    )
    assert [row[1:2] + row[3:] for row in boxes(content)] == [
        (0, 1, [0, 0, 10, 10]),
        (1, 1, [2, 1, 13, 9]),
        (1, 2, [0, 0, 10, 10]),
        (2, 1, [4, 2, 16, 8]),
        (2, 2, [2, 0, 10, 10]),  # on its way to where it is outside
        (3, 1, [6, 3, 19, 7]),
        (4, 1, [8, 4, 22, 6]),
        (5, 1, [8, 4, 22, 6]),  # has no end
    ]
    flags = [(a['generated'], a['occluded']) for a in content['annotations']]
    assert [flags[i] for i in (0, 1, 3, 5)] == [(False, True), *[(True, True)] * 3]
    assert flags[6:] == [(False, False), (True, False)]
    shown = capsys.readouterr().out
    assert '1 tracks have no end' in shown and '1 points, cuboids or skeletons' in shown


@pytest.mark.parametrize(
    ('shape', 'expected'),
    [
        (box(0, 10, 10, 30, 20, more=' rotation="90.0"'), [15, 5, 10, 20]),
        (box(0, 10, 10, 30, 20, more=' rotation="180"'), [10, 10, 20, 10]),
        (box(0, 10, 10, 20, 20, more=' rotation="45"'), [7.929, 7.929, 14.142, 14.142]),
        ('<polygon frame="0" points="3,4;10,5;8,20.5"/>', [3, 4, 7, 16.5]),
        ('<ellipse frame="0" cx="20" cy="20" rx="10" ry="5"/>', [10, 15, 20, 10]),
        ('<ellipse frame="0" cx="20" cy="20" rx="10" ry="5" rotation="90"/>', [15, 10, 10, 20]),
        ('<mask frame="0" rle="1" left="3" top="4" width="5" height="6"/>', [3, 4, 5, 6]),
    ],
)
def test_shapes(tmp_path, cvat, shape, expected):
    write_frames(tmp_path / 'cam', 1)
    assert boxes(cvat(track(0, 'cat', shape), meta=task(1))) == [('cam', 0, 'cat', 1, expected)]


PART = '<start_frame>2</start_frame><stop_frame>6</stop_frame><frame_filter>step=2</frame_filter>'


@pytest.mark.parametrize('whole', [False, True])
def test_every_second_frame_of_a_part(tmp_path, cvat, whole):
    """Frames have their numbers in the video file; here are those that CVAT showed, or all."""
    write_frames(tmp_path / 'cam', 9 if whole else 3)
    shapes = box(2, 0, 0, 9, 9), box(4, 2, 0, 11, 9), box(6, 3, 3, 9, 9, outside=1)
    content = cvat(track(0, 'cat', *shapes), meta=task(3, more=PART))
    first = 2 if whole else 0
    number = 5 if whole else 3
    assert frames(content) == [('cam', i, f'cam/{i + first:06d}.jpg') for i in range(number)]
    between = [(1, [1, 0, 9, 9]), (2, [2, 0, 9, 9]), (3, [2.5, 1.5, 7.5, 7.5])]
    shown = between if whole else [(1, [2, 0, 9, 9])]
    assert [row[1::3] for row in boxes(content)] == [(0, [0, 0, 9, 9]), *shown]


def test_a_job_is_a_part_of_the_video(tmp_path, cvat):
    write_frames(tmp_path / 'cam', 5)
    more = '<start_frame>1</start_frame><stop_frame>2</stop_frame>'
    meta = task(2, more=more).replace('task>', 'job>')
    content = cvat(track(0, 'cat', box(2, 0, 0, 9, 9)), meta=meta)
    assert frames(content) == [('cam', 0, 'cam/000001.jpg'), ('cam', 1, 'cam/000002.jpg')]
    assert [row[1] for row in boxes(content)] == [1]


def test_tasks_of_a_project(tmp_path, cvat):
    write_frames(tmp_path / 'images/a', 1)
    write_frames(tmp_path / 'images/b', 2)
    tasks = task(1, 'one', 'a.mp4', 11) + task(2, 'two', 'b.mp4', 12)
    content = cvat(
        track(0, 'cat', box(0, 0, 0, 9, 9), more=' task_id="11"'),
        track(1, 'cat', box(1, 1, 0, 9, 9), more=' task_id="12"'),
        meta=f'<project><tasks>{tasks}</tasks></project>',
    )
    first, second = [0, 0, 9, 9], [1, 0, 8, 9]
    assert boxes(content) == [
        ('images/a', 0, 'cat', 1, first),
        ('images/b', 1, 'cat', 2, second),
    ]


def test_several_files_and_folders(tmp_path, convert, capsys):
    for name in 'ab':
        write_frames(tmp_path / name / 'cam', 2)
        write(tmp_path, {f'{name}/annotations.xml': document(GOOD, meta=task(2))})
    content = convert('cvat', [tmp_path / 'a', tmp_path / 'b/annotations.xml'])
    assert [row[:4:3] for row in boxes(content)] == [('a/cam', 1)] * 2 + [('b/cam', 2)] * 2
    assert names(content) == ['cat', 'dog']
    assert capsys.readouterr().out.count('1 tracks have no end') == 2


def image(number, name, *shapes, width=64):
    size = f'width="{width}" height="48"'
    return f'<image id="{number}" name="{name}" {size}>{"".join(shapes)}</image>'


def shape(x1, x2, track_id=None, occluded=0):
    """A box from (x1, 0) to (x2, 9)."""
    attribute = f'<attribute name="track_id">{track_id}</attribute>' if track_id else ''
    return (
        f'<box label="dog" source="manual" occluded="{occluded}" xtl="{x1}" ytl="0" '
        f'xbr="{x2}" ybr="9" z_order="0">{attribute}</box>'
    )


def test_images_in_folders(tmp_path, cvat):
    write_images(tmp_path / 'images/v1', ['f9.jpg', 'f10.jpg'])
    write_images(tmp_path / 'images/v2', ['f1.jpg'])
    content = cvat(
        image(0, 'v1/f10.jpg', shape(0, 9, track_id=3, occluded=1)),
        image(1, 'v1/f9.jpg', '<tag label="cat"/>', shape(1, 9, track_id=3)),
        image(2, 'v2/f1.jpg'),
    )
    assert frames(content) == [
        ('images/v1', 0, 'images/v1/f9.jpg'),
        ('images/v1', 1, 'images/v1/f10.jpg'),
        ('images/v2', 0, 'images/v2/f1.jpg'),
    ]
    assert [row[1:] for row in boxes(content)] == [
        (0, 'dog', 1, [1, 0, 8, 9]),
        (1, 'dog', 1, [0, 0, 9, 9]),
    ]
    assert [a['occluded'] for a in content['annotations']] == [False, True]


def test_images_that_are_frames_of_a_video(tmp_path, cvat):
    write_video(tmp_path / 'cam.mp4', 4)
    content = cvat(image(0, 'frame_000001', shape(0, 9)), image(1, 'frame_000003'))
    assert frames(content) == [('cam', 0, 'cam/000001.jpg'), ('cam', 1, 'cam/000003.jpg')]
    assert boxes(content) == [('cam', 0, 'dog', None, [0, 0, 9, 9])]


of_track = partial(track, 3, 'cat')
OTHER = task(source='other.mp4', name='n')


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('<annotations><meta>', r'annotations\.xml is not well-formed XML'),
        ('<annotation/>', r'its root is <annotation>, not <annotations>'),
        ('<annotations></annotations>', 'has no <meta>'),
        (document(GOOD, meta='<x/>'), 'describes no <task> or <job>'),
        (document(GOOD, meta=task(5)), r'labels 5 frames of task .night., but .*cam has 4'),
        (document(GOOD, meta=task(width=640)), r'annotations.xml is for 640x48 .* has 64x48'),
        (document(GOOD, meta=OTHER), r"task 'n' \(source 'other\.mp4'\): found neither .*other"),
        (document(GOOD, meta=task(more=PART.replace('=2', '=0'))), 'step of .* is 0'),
        (document(GOOD, meta=task(1, more=PART.replace('>6<', '>1<'))), 'labels 1 frames .* has 4'),
        (document(track(3, '', box(0, 0, 0, 9, 9))), 'track 3 .*: <track> has no label'),
        (document(of_track(box(0, 0, 0, 'x', 9))), r"frame 0 of track 3 .*: xbr of <box> is 'x'"),
        (document(of_track(box(4, 0, 0, 9, 9))), r'track 3 .*: frame 4 is not in 0\.\.3'),
        (document(of_track('<box frame="0" xtl="1"/>')), 'ytl of <box> is missing'),
        (document(of_track('<polygon frame="0"/>')), 'points of <polygon> are no pairs'),
        (document(image(0, 'frame_000004')), r"'frame_000004' is no frame of .*cam, which has 4"),
        (document(image(0, 'frame_000001', width=10)), r"'frame_000001' .*10x48 .* has 64x48"),
        (document(image(0, '', shape(0, 9))), 'image 0 has no name'),
        (document(image(0, 'v/1.jpg'), meta=OTHER), r"no image 'v/1\.jpg' in .*other"),
        (
            document(image(0, 'frame_000001', shape(0, 'x'))),
            r"<box> 1 of image 'frame_000001' of .*: xbr of <box> is 'x'",
        ),
    ],
)
def test_bad_files(tmp_path, refused, text, message):
    write_frames(tmp_path / 'cam', 4)
    refused('cvat', write(tmp_path, {'annotations.xml': text}) / 'annotations.xml', message)


def test_an_archive_is_to_be_unpacked(tmp_path, refused):
    (tmp_path / 'task.zip').write_bytes(b'PK')
    refused('cvat', tmp_path / 'task.zip', 'unpack it')
    refused('cvat', tmp_path, r'no CVAT file .*annotations\.xml')
