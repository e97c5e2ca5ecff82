"""CVAT XML 1.1, for video and for images, to CocoVID: by hand, real variants, bad inputs."""

import pytest
from own_data import boxes, convert, frames, names, write, write_frames, write_images, write_video

from mmdet.core.errors import ConversionError


def task(size=4, name='night', source='cam.mp4', number=1, size_xy='64x48', more=''):
    width, height = size_xy.split('x')
    return (
        f'<task><id>{number}</id><name>{name}</name><size>{size}</size><mode>interpolation</mode>'
        f'{more}<labels>'
        f'<label><name>cat</name><color>#ff0000</color><attributes/></label>'
        f'<label><name>dog</name><attributes><attribute><name>colour</name></attribute>'
        f'</attributes></label></labels>'
        f'<original_size><width>{width}</width><height>{height}</height></original_size>'
        f'<source>{source}</source></task>'
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


def cvat(folder, text):
    return write(folder, {'annotations.xml': text}) / 'annotations.xml'


def test_every_frame_written_as_cvat_exports_it(tmp_path):
    write_video(tmp_path / 'cam.mp4', 4)
    leaves = box(0, 0, 0, 10.5, 10), box(1, 1, 0, 11.5, 10, keyframe=0, occluded=1)
    returns = box(1, 0, 0, 9, 9), box(2, 5, 5, 9, 9, outside=1), box(3, 8, 8, 20, 20)
    text = document(
        track(0, 'dog', *leaves, box(2, 2, 0, 12.5, 10, outside=1)), track(1, 'cat', *returns)
    )
    path = cvat(tmp_path, text)
    content = convert('cvat', path, tmp_path / 'out.json')
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


def test_key_frames_only_are_interpolated(tmp_path, capsys):
    write_frames(tmp_path / 'cam', 6)
    path = cvat(
        tmp_path,
        document(
            track(7, 'cat', box(0, 0, 0, 10, 10, occluded=1), box(4, 8, 4, 30, 10)),
            track(8, 'cat', box(1, 0, 0, 10, 10), box(3, 4, 0, 14, 10, outside=1)),
            meta=task(6),
        ),
    )
    content = convert('cvat', path, tmp_path / 'out.json')
    assert boxes(content) == [
        ('cam', 0, 'cat', 1, [0, 0, 10, 10]),
        ('cam', 1, 'cat', 1, [2, 1, 13, 9]),
        ('cam', 1, 'cat', 2, [0, 0, 10, 10]),
        ('cam', 2, 'cat', 1, [4, 2, 16, 8]),
        ('cam', 2, 'cat', 2, [2, 0, 10, 10]),  # on its way to where it is outside
        ('cam', 3, 'cat', 1, [6, 3, 19, 7]),
        ('cam', 4, 'cat', 1, [8, 4, 22, 6]),
        ('cam', 5, 'cat', 1, [8, 4, 22, 6]),  # has no end
    ]
    flags = [(a['generated'], a['occluded']) for a in content['annotations']]
    interpolated = (True, True)
    assert [flags[i] for i in (0, 1, 3, 5)] == [(False, True), *[interpolated] * 3]
    assert flags[6:] == [(False, False), (True, False)]
    assert '1 tracks have no end' in capsys.readouterr().out


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
def test_shapes(tmp_path, shape, expected):
    write_frames(tmp_path / 'cam', 1)
    path = cvat(tmp_path, document(track(0, 'cat', shape), meta=task(1)))
    content = convert('cvat', path, tmp_path / 'out.json')
    assert [row[-1] for row in boxes(content)] == [expected]


def test_shapes_without_a_box_are_counted(tmp_path, capsys):
    write_frames(tmp_path / 'cam', 1)
    tracks = (
        track(0, 'cat', '<points frame="0" points="3,4"/>'),
        track(1, 'cat', box(0, 1, 1, 5, 5)),
    )
    path = cvat(tmp_path, document(*tracks, meta=task(1)))
    assert len(boxes(convert('cvat', path, tmp_path / 'out.json'))) == 1
    assert '1 points, cuboids or skeletons were left out' in capsys.readouterr().out


PART = '<start_frame>2</start_frame><stop_frame>6</stop_frame><frame_filter>step=2</frame_filter>'


@pytest.mark.parametrize('whole', [False, True])
def test_every_second_frame_of_a_part(tmp_path, whole):
    """Frames have their numbers in the video file; here are those that CVAT showed, or all."""
    shapes = box(2, 0, 0, 9, 9), box(4, 2, 0, 11, 9), box(6, 3, 3, 9, 9, outside=1)
    path = cvat(tmp_path, document(track(0, 'cat', *shapes), meta=task(3, more=PART)))
    if whole:
        write_video(tmp_path / 'cam.mp4', 9)
    else:
        write_frames(tmp_path / 'cam', 3)
    content = convert('cvat', path, tmp_path / 'out.json')
    found = [row[1::3] for row in boxes(content)]
    if whole:
        assert frames(content) == [('cam', i, f'cam/{i + 2:06d}.jpg') for i in range(5)]
        between = [(1, [1, 0, 9, 9]), (2, [2, 0, 9, 9]), (3, [2.5, 1.5, 7.5, 7.5])]
        assert found == [(0, [0, 0, 9, 9]), *between]
    else:
        assert len(content['images']) == 3
        assert found == [(0, [0, 0, 9, 9]), (1, [2, 0, 9, 9])]


def test_a_job_is_a_part_of_the_video(tmp_path):
    more = '<start_frame>1</start_frame><stop_frame>2</stop_frame>'
    meta = task(2, more=more).replace('task>', 'job>')
    write_frames(tmp_path / 'cam', 5)
    path = cvat(tmp_path, document(track(0, 'cat', box(2, 0, 0, 9, 9)), meta=meta))
    content = convert('cvat', path, tmp_path / 'out.json')
    assert frames(content) == [('cam', 0, 'cam/000001.jpg'), ('cam', 1, 'cam/000002.jpg')]
    assert [row[1] for row in boxes(content)] == [1]


def test_tasks_of_a_project(tmp_path):
    tasks = task(1, 'one', 'a.mp4', 11) + task(2, 'two', 'b.mp4', 12)
    write_frames(tmp_path / 'images/a', 1)
    write_frames(tmp_path / 'images/b', 2)
    tracks = (
        track(0, 'cat', box(0, 0, 0, 9, 9), more=' task_id="11"'),
        track(1, 'cat', box(1, 1, 0, 9, 9), more=' task_id="12"'),
    )
    meta = f'<project><tasks>{tasks}</tasks></project>'
    content = convert('cvat', cvat(tmp_path, document(*tracks, meta=meta)), tmp_path / 'out.json')
    assert boxes(content) == [
        ('images/a', 0, 'cat', 1, [0, 0, 9, 9]),
        ('images/b', 1, 'cat', 2, [1, 0, 8, 9]),
    ]


def test_several_files_and_folders(tmp_path, capsys):
    for name in 'ab':
        write_frames(tmp_path / name / 'cam', 2)
        cvat(tmp_path / name, document(track(0, 'cat', box(0, 0, 0, 9, 9)), meta=task(2)))
    inputs = [tmp_path / 'a', tmp_path / 'b/annotations.xml']
    content = convert('cvat', inputs, tmp_path / 'out.json')
    assert [row[:4:3] for row in boxes(content)] == [('a/cam', 1)] * 2 + [('b/cam', 2)] * 2
    assert names(content) == ['cat', 'dog']
    assert capsys.readouterr().out.count('1 tracks have no end') == 2


GOOD = track(0, 'cat', box(0, 0, 0, 9, 9))


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('<annotations><meta>', r'annotations\.xml is not well-formed XML'),
        ('<annotation/>', r'its root is <annotation>, not <annotations>'),
        ('<annotations></annotations>', 'has no <meta>'),
        (document(GOOD, meta=task(5)), r'labels 5 frames of task .night., but .*cam has 4'),
        (
            document(GOOD, meta=task(size_xy='640x480')),
            r'annotations.xml is for 640x480 .* has 64x48',
        ),
        (
            document(GOOD, meta=task(source='other.mp4', name='n')),
            r"the frames of task 'n' \(source 'other\.mp4'\): found neither .*other",
        ),
        (
            document(track(3, 'cat', box(0, 0, 0, 'x', 9))),
            r"frame 0 of track 3 of .*annotations\.xml: xbr of <box> is 'x'",
        ),
        (document(track(3, 'cat', box(4, 0, 0, 9, 9))), r'track 3 .*: frame 4 is not in 0\.\.3'),
        (document(track(3, '', box(0, 0, 0, 9, 9))), 'track 3 .*: <track> has no label'),
        (
            document(track(3, 'cat', '<box frame="0" xtl="1"/>')),
            'frame 0 of track 3 .*: ytl of <box> is missing',
        ),
        (document(track(3, 'cat', '<polygon frame="0"/>')), 'points of <polygon> are no pairs'),
        (document(GOOD, meta='<x/>'), 'describes no <task> or <job>'),
        (document(GOOD, meta=task(more=PART.replace('step=2', 'step=0'))), 'step of .* is 0'),
        (
            document(GOOD, meta=task(1, more=PART.replace('>6<', '>1<'))),
            r'labels 1 frames .* has 4',
        ),
    ],
)
def test_bad_files(tmp_path, text, message):
    write_frames(tmp_path / 'cam', 4)
    path = cvat(tmp_path, text)
    with pytest.raises(ConversionError, match=message):
        convert('cvat', path, tmp_path / 'out.json')


def test_an_archive_is_to_be_unpacked(tmp_path):
    (tmp_path / 'task.zip').write_bytes(b'PK')
    with pytest.raises(ConversionError, match='unpack it'):
        convert('cvat', tmp_path / 'task.zip', tmp_path / 'out.json')
    with pytest.raises(ConversionError, match=r'no CVAT file .*annotations\.xml'):
        convert('cvat', tmp_path, tmp_path / 'out.json')


# --- for images ----------------------------------------------------------------------------------


def image(number, name, *shapes, size=(64, 48), more=''):
    return (
        f'<image id="{number}" name="{name}" width="{size[0]}" height="{size[1]}"{more}>'
        f'{"".join(shapes)}</image>'
    )


def shape(x1, y1, x2, y2, track_id=None, occluded=0):
    attribute = f'<attribute name="track_id">{track_id}</attribute>' if track_id else ''
    return (
        f'<box label="dog" source="manual" occluded="{occluded}" xtl="{x1}" ytl="{y1}" '
        f'xbr="{x2}" ybr="{y2}" z_order="0">{attribute}</box>'
    )


def test_images_in_folders(tmp_path):
    write_images(tmp_path / 'images/v1', ['f9.jpg', 'f10.jpg'])
    write_images(tmp_path / 'images/v2', ['f1.jpg'])
    path = cvat(
        tmp_path,
        document(
            image(0, 'v1/f10.jpg', shape(0, 0, 9, 9, track_id=3, occluded=1)),
            image(1, 'v1/f9.jpg', '<tag label="cat"/>', shape(1, 0, 9, 9, track_id=3)),
            image(2, 'v2/f1.jpg'),
        ),
    )
    content = convert('cvat', path, tmp_path / 'out.json')
    assert frames(content) == [
        ('images/v1', 0, 'images/v1/f9.jpg'),
        ('images/v1', 1, 'images/v1/f10.jpg'),
        ('images/v2', 0, 'images/v2/f1.jpg'),
    ]
    assert boxes(content) == [
        ('images/v1', 0, 'dog', 1, [1, 0, 8, 9]),
        ('images/v1', 1, 'dog', 1, [0, 0, 9, 9]),
    ]
    assert [a['occluded'] for a in content['annotations']] == [False, True]


def test_images_that_are_frames_of_a_video(tmp_path):
    write_video(tmp_path / 'cam.mp4', 4)
    path = cvat(
        tmp_path,
        document(image(0, 'frame_000001', shape(0, 0, 9, 9)), image(1, 'frame_000003')),
    )
    content = convert('cvat', path, tmp_path / 'out.json')
    assert frames(content) == [('cam', 0, 'cam/000001.jpg'), ('cam', 1, 'cam/000003.jpg')]
    assert boxes(content) == [('cam', 0, 'dog', None, [0, 0, 9, 9])]


@pytest.mark.parametrize(
    ('element', 'message'),
    [
        (image(0, 'frame_000004'), r"image 'frame_000004' is no frame of .*cam, which has 4"),
        (image(0, 'frame_000001', size=(10, 10)), r"image 'frame_000001' .*10x10 .* has 64x48"),
        (image(0, '', shape(0, 0, 9, 9)), 'image 0 has no name'),
        (image(0, 'v/1.jpg'), r"there is no image 'v/1\.jpg' in .*other"),
        (
            image(0, 'frame_000001', shape(0, 0, 'x', 9)),
            r"<box> 1 of image 'frame_000001' of .*: xbr of <box> is 'x'",
        ),
    ],
)
def test_bad_images(tmp_path, element, message):
    write_frames(tmp_path / 'cam', 4)
    path = cvat(
        tmp_path,
        document(
            element, meta=task(source='other.mp4' if 'v/1' in element else 'cam.mp4', name='n')
        ),
    )
    with pytest.raises(ConversionError, match=message):
        convert('cvat', path, tmp_path / 'out.json')
