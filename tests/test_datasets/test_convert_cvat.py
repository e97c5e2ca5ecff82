"""CVAT XML 1.1, for video and for images, to CocoVID: by hand, real variants, bad inputs."""

import pytest
from own_data import boxes, frames, names, write, write_frames, write_images, write_video


def task(size=4, name='night', source='cam.mp4', number=1, width=64, more=''):
    labels = '<label><name>cat</name></label><label><name>dog</name><attributes/></label>'
    return (
        f'<task><id>{number}</id><name>{name}</name><size>{size}</size>{more}<labels>{labels}'
        f'</labels><original_size><width>{width}</width><height>48</height></original_size>'
        f'<source>{source}</source></task>'
    )


def document(*elements, meta=None):
    meta = f'<meta>{task() if meta is None else meta}<dumped>now</dumped></meta>'
    body = f'<annotations><version>1.1</version>{meta}{"".join(elements)}</annotations>'
    return f'<?xml version="1.0" encoding="utf-8"?>\n{body}'


def track(number, *shapes, label='cat', more=''):
    return f'<track id="{number}" label="{label}" source="manual"{more}>{"".join(shapes)}</track>'


def shape(tag='box', **fields):
    given = ''.join(f' {name}="{value}"' for name, value in fields.items())
    return f'<{tag}{given}><attribute name="colour">red</attribute></{tag}>'


def box(frame, x1, y1, x2, y2, **fields):
    return shape(frame=frame, xtl=x1, ytl=y1, xbr=x2, ybr=y2, **fields)


@pytest.fixture
def cvat(tmp_path, convert):
    """Converts a document of these elements, written beside the frames."""

    def converted(*elements, meta=None):
        write(tmp_path, {'annotations.xml': document(*elements, meta=meta)})
        return convert('cvat', tmp_path / 'annotations.xml')

    return converted


def test_every_frame_written_as_cvat_exports_it(tmp_path, cvat, capsys):
    write_video(tmp_path / 'cam.mp4', 4)
    leaves = box(0, 0, 0, 10.5, 10), box(1, 1, 0, 11.5, 10, keyframe=0, occluded=1)
    returns = box(1, 0, 0, 9, 9), box(2, 5, 5, 9, 9, outside=1), box(3, 8, 8, 20, 20)
    away = box(2, 2, 0, 12.5, 10, outside=1)
    content = cvat(track(0, *leaves, away, label='dog'), track(1, *returns))
    assert names(content) == ['cat', 'dog']  # the order of the labels
    assert frames(content) == [('cam', i, f'cam/{i:06d}.jpg') for i in range(4)]
    assert [row[1:] for row in boxes(content)] == [
        (0, 'dog', 1, [0, 0, 10.5, 10]),
        (1, 'dog', 1, [1, 0, 10.5, 10]),
        (1, 'cat', 2, [0, 0, 9, 9]),
        (3, 'cat', 2, [8, 8, 12, 12]),
    ]
    flags = [(a['generated'], a['occluded']) for a in content['annotations']]
    assert flags == [(False, False), (True, True), (False, False), (False, False)]
    assert 'have no end' not in capsys.readouterr().out


def test_key_frames_only_are_interpolated(tmp_path, cvat, capsys):
    write_frames(tmp_path / 'cam', 6)
    content = cvat(
        track(7, box(0, 0, 0, 10, 10, occluded=1), box(4, 8, 4, 30, 10)),
        track(8, box(1, 0, 0, 10, 10), box(3, 4, 0, 14, 10, outside=1)),
        track(9, shape('points', frame=0, points='3,4')),
        meta=task(6),
    )
    assert [row[1:2] + row[3:] for row in boxes(content)] == [
        *((0, 1, [0, 0, 10, 10]), (1, 1, [2, 1, 13, 9])),
        *((1, 2, [0, 0, 10, 10]), (2, 1, [4, 2, 16, 8])),
        (2, 2, [2, 0, 10, 10]),  # on its way to where it is outside
        *((3, 1, [6, 3, 19, 7]), (4, 1, [8, 4, 22, 6])),
        (5, 1, [8, 4, 22, 6]),  # has no end
    ]
    flags = [(a['generated'], a['occluded']) for a in content['annotations']]
    assert [flags[i] for i in (0, 1, 3, 5)] == [(False, True), *[(True, True)] * 3]
    assert flags[6:] == [(False, False), (True, False)]
    shown = capsys.readouterr().out
    assert '1 tracks have no end' in shown and '1 points, cuboids or skeletons' in shown


ROUND = dict(tag='ellipse', frame=0, cx=20, cy=20, rx=10, ry=5)


@pytest.mark.parametrize(
    ('drawn', 'expected'),
    [
        (box(0, 10, 10, 20, 20, rotation='45'), [7.929, 7.929, 14.142, 14.142]),
        (shape('polygon', frame=0, points='3,4;10,5;8,20.5'), [3, 4, 7, 16.5]),
        (shape(**ROUND, rotation=90), [15, 10, 10, 20]),
        (shape('mask', frame=0, rle=1, left=3, top=4, width=5, height=6), [3, 4, 5, 6]),
    ],
)
def test_shapes(tmp_path, cvat, drawn, expected):
    write_frames(tmp_path / 'cam', 1)
    assert boxes(cvat(track(0, drawn), meta=task(1))) == [('cam', 0, 'cat', 1, expected)]


PART = '<start_frame>1</start_frame><stop_frame>3</stop_frame>'
EVERY_SECOND = PART.replace('>3<', '>5<') + '<frame_filter>step=2</frame_filter>'


@pytest.mark.parametrize(
    ('more', 'count', 'shown'), [(EVERY_SECOND, 3, (0, 1, 2)), (PART, 4, (1, 2, 3))]
)
def test_a_part_of_a_video(tmp_path, cvat, more, count, shown):
    """Frames have their numbers in the video file; on disk are those that CVAT showed, or all."""
    write_frames(tmp_path / 'cam', count)
    content = cvat(track(0, box(1, 0, 0, 9, 9), box(3, 2, 0, 9, 9)), meta=task(3, more=more))
    assert frames(content) == [('cam', i, f'cam/{n:06d}.jpg') for i, n in enumerate(shown)]
    assert boxes(content)[0][1] == 0


def test_tasks_of_a_project_find_their_frames(tmp_path, cvat):
    tasks = task(1, 'one', 'a.mp4', 11) + task(2, 'two', 'b.mp4', 12)
    for name, count in (('a', 1), ('b', 2)):
        write_frames(tmp_path / 'images' / name, count)
    project = cvat(
        track(0, box(0, 0, 0, 9, 9), more=' task_id="11"'),
        track(1, box(1, 1, 0, 9, 9), more=' task_id="12"'),
        meta=f'<project><tasks>{tasks}</tasks></project>',
    )
    found = [('images/a', 0, 'cat', 1, [0, 0, 9, 9]), ('images/b', 1, 'cat', 2, [1, 0, 8, 9])]
    assert boxes(project) == found


def image(number, name, *shapes, width=64):
    size = f'width="{width}" height="48"'
    return f'<image id="{number}" name="{name}" {size}>{"".join(shapes)}</image>'


def dog(x1, x2, track_id='', **fields):
    """A box from (x1, 0) to (x2, 9)."""
    found = shape(label='dog', xtl=x1, ytl=0, xbr=x2, ybr=9, **fields)
    return found.replace('name="colour">red', f'name="track_id">{track_id}')


def test_images_in_folders(tmp_path, cvat):
    write_images(tmp_path / 'images/v1', ['f9.jpg', 'f10.jpg'])
    write_images(tmp_path / 'images/v2', ['f1.jpg'])
    content = cvat(
        image(0, 'v1/f10.jpg', dog(0, 9, 3, occluded=1)),
        image(1, 'v1/f9.jpg', '<tag label="cat"/>', dog(1, 9, 3)),
        image(2, 'v2/f1.jpg'),
    )
    assert frames(content) == [
        ('images/v1', 0, 'images/v1/f9.jpg'),
        ('images/v1', 1, 'images/v1/f10.jpg'),
        ('images/v2', 0, 'images/v2/f1.jpg'),
    ]
    found = [row[1:] for row in boxes(content)]
    assert found == [(0, 'dog', 1, [1, 0, 8, 9]), (1, 'dog', 1, [0, 0, 9, 9])]
    assert [a['occluded'] for a in content['annotations']] == [False, True]


def test_images_that_are_frames_of_a_video(tmp_path, cvat):
    write_video(tmp_path / 'cam.mp4', 4)
    content = cvat(image(0, 'frame_000001', dog(0, 9)), image(1, 'frame_000003'))
    assert frames(content) == [('cam', 0, 'cam/000001.jpg'), ('cam', 1, 'cam/000003.jpg')]


OTHER = task(source='other.mp4', name='n')


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('<annotation/>', r'its root is <annotation>, not <annotations>'),
        ('<annotations></annotations>', 'has no <meta>'),
        (document(track(3, shape('polygon', frame=0))), 'points of <polygon> are no pairs'),
        (document(image(0, 'frame_000004')), r"'frame_000004' is no frame of .*cam, which has 4"),
        (document(meta=task(more=EVERY_SECOND.replace('=2', '=0'))), 'step of .* is 0'),
        (document(meta='<x/>'), 'describes no <task> or <job>'),
        (document(track(3, box(0, 0, 0, 9, 9), label='')), 'track 3 .*: <track> has no label'),
        (document(image(0, 'frame_000001', width=10)), r"'frame_000001' .*10x48 .* has 64x48"),
        (document(meta=task(5)), r'labels 5 frames of task .night., but .*cam has 4'),
        (document(meta=task(width=640)), r'annotations.xml is for 640x48 .* has 64x48'),
        (document(track(3, box(0, 0, 0, 'x', 9))), r"frame 0 of track 3 .*: xbr of <box> is 'x'"),
        (document(track(3, box(4, 0, 0, 9, 9))), r'track 3 .*: frame 4 is not in 0\.\.3'),
        (document(image(0, 'v/1.jpg'), meta=OTHER), r"no image 'v/1\.jpg' in .*other"),
        (document(image(0, 'frame_000001', dog(0, 'x'))), "<box> 1 of image .*xbr of <box> is 'x'"),
    ],
)
def test_bad_files(tmp_path, refused, text, message):
    write_frames(tmp_path / 'cam', 4)
    refused('cvat', write(tmp_path, {'annotations.xml': text}) / 'annotations.xml', message)


def test_an_archive_is_to_be_unpacked(tmp_path, refused):
    (tmp_path / 'task.zip').write_bytes(b'PK')
    refused('cvat', tmp_path / 'task.zip', 'unpack it')
    refused('cvat', tmp_path, r'no CVAT file .*annotations\.xml')
