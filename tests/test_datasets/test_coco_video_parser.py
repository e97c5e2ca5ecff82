"""The annotation index against a naive reading of the JSON, and every rule it checks."""

import json
import threading
import time

import pytest
from cocovid_oracle import check_against, make_dataset, write

from mmdet.core.errors import AnnotationError
from mmdet.datasets.parsers import CocoVideoIndex


@pytest.fixture
def opened(tmp_path):
    return lambda dataset, **how: CocoVideoIndex.open(write(tmp_path, dataset), **how)


@pytest.mark.parametrize(('seed', 'indent'), [(0, None), (1, 1), (2, None)])
def test_equals_a_walk_over_the_dicts(tmp_path, seed, indent):
    dataset = make_dataset(seed=seed)
    path = write(tmp_path, dataset, indent=indent)
    for way in (CocoVideoIndex.read, CocoVideoIndex.open, CocoVideoIndex.open):  # the last one maps
        index = way(path)
        check_against(index, dataset)
        ids = [image['id'] for image in dataset['images']]
        assert index.positions_of([ids[3], 123456, ids[0], ids[3]]).tolist() == [3, -1, 0, 3]
        with pytest.raises(KeyError, match=r'image id 123456 is not in .*ann\.json'):
            index.position_of(123456)
    with pytest.raises(ValueError, match='read-only'):
        index.ann_boxes[0] = 0


def test_ordered_file_of_many_pieces(opened, monkeypatch):
    """Ascending ids and grouped annotations, as the converters write them, in small blocks."""
    monkeypatch.setattr('mmdet.datasets.parsers.coco_video_parser.BLOCK', 512)
    dataset = ordered((9, 4, 11, 2))
    check_against(opened(dataset), dataset)


@pytest.mark.parametrize(
    ('path', 'tracked'),
    [
        ('eval/annotations.json', True),
        ('video/ILSVRC/annotations/imagenet_vid_val.json', True),
        ('convert/expected_imagenet_vid_train.json', True),
        ('convert/expected_imagenet_vid_val.json', True),
        ('convert/expected_imagenet_det_30plus1cls.json', False),
    ],
)
def test_golden_files(shared, tmp_path, path, tracked):
    path = shared / 'golden' / path
    index = CocoVideoIndex.open(path, cache_dir=tmp_path)
    check_against(index, json.loads(path.read_text()))
    assert index.has_track_ids is tracked


def test_optional_fields_may_be_absent_or_null(tmp_path):
    dataset = make_dataset((30,))
    optional = ['area', 'iscrowd', 'ignore', 'instance_id']
    for i, annotation in enumerate(dataset['annotations']):
        annotation[optional[i % 4]] = None
        del annotation[optional[(i + 1) % 4]]
    for image in dataset['images']:
        del image['is_vid_train_frame']
    path = write(tmp_path, dataset)
    for annotation in dataset['annotations']:
        for field in [name for name in optional if annotation.get(name, 0) is None]:
            del annotation[field]
    index = CocoVideoIndex.open(path)
    check_against(index, dataset)
    assert not index.has_track_ids


def test_one_entry_decides_where_a_field_is_optional(opened):
    dataset = make_dataset((30,))
    for annotation in dataset['annotations']:
        annotation['instance_id'] = 0
        del annotation['ignore']
    dataset['annotations'][7]['ignore'] = True
    index = opened(dataset)
    check_against(index, dataset)
    assert index.has_track_ids
    del dataset['annotations'][7]['instance_id']
    assert not opened(dataset).has_track_ids


def test_images_without_videos_and_as_videos_of_one_frame(opened):
    dataset = make_dataset((5,))
    del dataset['videos']
    for image in dataset['images']:
        del image['video_id'], image['frame_id']
        image['file_name'] = image['file_name'].rpartition('/')[2]  # no folder
    for annotation in dataset['annotations']:
        del annotation['instance_id'], annotation['video_id']
    index, as_videos = opened(dataset), opened(dataset, load_img_as_vid=True)
    check_against(index, dataset)
    assert list(index.videos()) == []
    dataset['videos'] = []
    for image in dataset['images']:
        image |= {'video_id': image['id'], 'frame_id': 0}
        dataset['videos'].append({'id': image['id'], 'name': image['file_name']})
    for annotation in dataset['annotations']:
        annotation['instance_id'] = annotation['id']
    check_against(as_videos, dataset)
    assert not index.has_track_ids and not as_videos.has_track_ids  # the ids are made up
    with_videos = make_dataset()
    check_against(opened(with_videos, load_img_as_vid=True), with_videos)


def test_empty_lists_and_empty_videos(opened):
    dataset = make_dataset()
    dataset['videos'].append({'id': 99, 'name': 'val/without_frames'})
    check_against(opened(dataset), dataset)
    dataset |= {'annotations': []}
    check_against(opened(dataset), dataset)
    empty = {'images': [], 'annotations': [], 'categories': []}
    for as_videos in (False, True):
        index = opened(empty, load_img_as_vid=as_videos)
        check_against(index, empty)
        assert index.positions_of([1, 2]).tolist() == [-1, -1]


def test_unusual_but_legal_values(opened):
    dataset = make_dataset((3, 1))
    dataset['images'][0] |= {'width': 1280.0, 'file_name': 'ordner/\u00fcber \u6f22/\U0001f600.png'}
    dataset['images'][1]['file_name'] = 'no_folder.png'
    dataset['images'][2]['file_name'] = '/absolute/path.png'
    dataset['videos'][0]['name'] = '\ud800 lone surrogate'
    entry = {'image_id': dataset['images'][0]['id'], 'category_id': 5, 'bbox': [-5, 3.25, -1, 0]}
    dataset['annotations'] = [{'id': 2**53 + 1} | entry, {'id': 4.0} | entry]
    dataset['info'] = {'nested': [{'a': 1}, {'b': 2}]}
    check_against(opened(dataset), dataset)


# --- bad files -----------------------------------------------------------------------------------


def set_field(name: str, i: int, field: str, value):
    def change(dataset):
        dataset[name][i][field] = value

    return change


def drop_field(name: str, i: int, field: str):
    def change(dataset):
        del dataset[name][i][field]

    return change


# of the file that `ordered` makes: image ids 1 to 8 of videos 3 (frames 0..3), 10 (0), 17 (0..2)
BAD = [
    (set_field('images', 2, 'id', 1), r'image id 1: the id must be unique.*\[0\] and images\[2\]'),
    (set_field('annotations', 3, 'id', 1), r'annotation id 1: the id must be unique'),
    (set_field('videos', 1, 'id', 3), r'video id 3: the id must be unique'),
    (set_field('categories', 1, 'id', 5), r'category id 5: the id must be unique'),
    (set_field('images', 4, 'video_id', 77), r'image id 5: video id 77 is not in `videos`'),
    (drop_field('images', 4, 'video_id'), r'image id 5: has no `video_id`'),
    (lambda d: d.pop('videos'), r'image id 1: video id 3 is not in `videos`'),
    (drop_field('images', 1, 'frame_id'), r'image id 2: has no `frame_id`, or a negative one'),
    (set_field('images', 1, 'frame_id', -2), r'image id 2: .*negative one'),
    (
        set_field('images', 2, 'frame_id', 1),
        r'image id 3: frame_id 1 of video id 3 is already that of image id 2; .* 0 to 3, each once',
    ),
    (
        set_field('images', 3, 'frame_id', 9),
        r'image id 4: frame_id 9 follows, but frame_id 3 of video id 3 is missing',
    ),
    (set_field('images', 4, 'frame_id', 1), r'image id 5: .*frame_id 0 of video id 10 is missing'),
    (set_field('images', 1, 'frame_id', 1.5), r'id 2: `frame_id` must .* integer, not 1.5'),
    (set_field('images', 1, 'frame_id', 2**31), r'an integer of at most 2147483647, not 21474836'),
    (set_field('annotations', 2, 'bbox', [1, 2, float('nan'), 4]), r'annotation id 3: `bbox` must'),
    (set_field('annotations', 2, 'bbox', [1, 2, float('inf'), 4]), r'four finite numbers .*inf'),
    (set_field('annotations', 2, 'bbox', [1, 2, 3]), r'annotation id 3: .*not \[1, 2, 3\]'),
    (set_field('annotations', 2, 'bbox', [[1], 2, 3, 4]), r'annotation id 3: `bbox`'),
    (set_field('annotations', 2, 'bbox', ['1', 2, 3, 4]), r'annotation id 3: `bbox`'),
    (set_field('annotations', 2, 'bbox', {'x': 1}), r'annotation id 3: `bbox`'),
    (drop_field('annotations', 2, 'bbox'), r'annotation id 3: has no `bbox`'),
    (set_field('categories', 1, 'name', ''), r'category id 15: `name` must be a non-empty string'),
    (set_field('categories', 1, 'name', 7), r'category id 15: .*non-empty string, not 7'),
    (set_field('annotations', 0, 'image_id', 99), r'annotation id 1: image_id 99 is not in `im'),
    (set_field('annotations', 0, 'category_id', 6), r'annotation id 1: category_id 6 is not in'),
    (set_field('annotations', 0, 'area', float('inf')), r'annotation id 1: `area` must be a fin'),
    (set_field('annotations', 0, 'instance_id', 'a'), r"`instance_id` must be an integer, not 'a'"),
    (set_field('annotations', 0, 'iscrowd', 'no'), r"`iscrowd` must be true or false, not 'no'"),
    (set_field('images', 5, 'height', None), r'image id 6: has no `height`'),
    (set_field('images', 5, 'height', 0), r'image id 6: `height` must be a positive integer'),
    (set_field('images', 5, 'width', 2**31), r'image id 6: `width` must be a positive integer'),
    (drop_field('images', 5, 'file_name'), r'image id 6: has no `file_name`'),
    (drop_field('images', 5, 'id'), r'images\[5\]: has no `id`'),
    (set_field('images', 5, 'id', 'six'), r"images\[5\]: `id` must be an integer, not 'six'"),
    (set_field('images', 5, 'id', True), r'`id` must be an integer, not True'),
    (
        set_field('images', 5, 'id', 2**63),
        r'of at most 9223372036854775807, not 92233',
    ),
    (lambda d: d['images'].insert(0, 'a.png'), r'images\[0\]: must be an object'),
    (lambda d: d['images'].append([]), r'images\[8\]: must be an object'),
    (lambda d: d.pop('annotations'), r'`annotations`: the list is missing \(it may be empty\)'),
    (lambda d: d.update(images={'id': 1}), r'`images`: must be a list'),
]


def ordered(lengths=(4, 1, 3)) -> dict:
    """Ids from 1 in the order of the videos, annotations grouped by image."""
    dataset = make_dataset(lengths, seed=1)
    dataset['images'].sort(key=lambda image: -image['id'])
    new_id = {image['id']: i for i, image in enumerate(dataset['images'], 1)}
    for image in dataset['images']:
        image['id'] = new_id[image['id']]
    dataset['annotations'].sort(key=lambda annotation: new_id[annotation['image_id']])
    for i, annotation in enumerate(dataset['annotations'], 1):
        annotation |= {'id': i, 'image_id': new_id[annotation['image_id']]}
    return dataset


@pytest.mark.parametrize(('change', 'message'), BAD)
@pytest.mark.parametrize('block', [1 << 20, 64])
def test_bad_entries(tmp_path, monkeypatch, change, message, block):
    """The index refuses the file; who collects the faults finds this one among them."""
    monkeypatch.setattr('mmdet.datasets.parsers.coco_video_parser.BLOCK', block)
    dataset = ordered()
    assert len(dataset['annotations']) > 4
    change(dataset)
    path = write(tmp_path, dataset)
    with pytest.raises(AnnotationError, match=f'^{path}:? .*{message}') as refused:
        CocoVideoIndex.open(path)
    assert list(tmp_path.iterdir()) == [path]  # nothing is left behind
    found = []
    try:
        CocoVideoIndex.read(
            path, lambda kind, entry, rule: found.append(f'{path}: {entry}: {rule}')
        )
    except AnnotationError as error:  # no annotation file at all
        found.append(str(error))
    assert str(refused.value) in found


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'not an annotation file: it is empty'),
        (b'images: none', 'not an annotation file: the top level must be an object'),
        (b'[{"id": 1}]', 'the top level must be an object'),
        (b'{"images": [], "annotations": [{"id"', r'at character 36 where it ends \(is it cut'),
        (b'{"images": [], }', 'a key in double quotes is expected, at character 15'),
        (b'\xff\xfe{\x00}\x00', 'not UTF-8'),
        (b'\x89PNG\r\n\x1a\n', 'not UTF-8'),
        (b'{}', '`images`: the list is missing'),
    ],
)
def test_not_an_annotation_file(tmp_path, content, message):
    path = tmp_path / 'ann.json'
    path.write_bytes(content)
    with pytest.raises(AnnotationError, match=f'^{path}:? .*{message}'):
        CocoVideoIndex.open(path)


@pytest.mark.parametrize('content', ['{"images": [}' + ' ' * 5000, None])
def test_long_file_shows_progress_that_ends(tmp_path, monkeypatch, capsys, content):
    """The bar is gone when the error is shown, and while it is kept."""
    monkeypatch.setattr('mmdet.datasets.parsers.coco_video_parser._LONG', 0)
    monkeypatch.setattr('mmdet.datasets.parsers.coco_video_parser.BLOCK', 1000)
    path = write(tmp_path, make_dataset())
    threads = threading.active_count()
    if content is None:
        CocoVideoIndex.open(path)
    else:
        path.write_text(content)
        with pytest.raises(AnnotationError) as kept:
            CocoVideoIndex.open(path)
        assert kept.value is not None
    deadline = time.monotonic() + 30  # rich tells the thread of the bar to end and does not wait
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == threads
    printed = capsys.readouterr()
    assert 'Reading ann.json' in printed.out + printed.err


@pytest.mark.parametrize('name', ['nowhere.json', '.'])
def test_no_such_file(tmp_path, name):
    with pytest.raises(FileNotFoundError, match='there is no such annotation file'):
        CocoVideoIndex.open(tmp_path / name)
