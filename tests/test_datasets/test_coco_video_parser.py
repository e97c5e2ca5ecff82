"""The annotation index against a naive reading of the JSON, and every rule it checks."""

import pytest
from cocovid_oracle import check_against, make_dataset, ordered, write

from mmdet.core.errors import AnnotationError
from mmdet.datasets.parsers import CocoVideoIndex

PARSER = 'mmdet.datasets.parsers.coco_video_parser'


@pytest.fixture
def opened(tmp_path):
    return lambda dataset, **how: CocoVideoIndex.open(write(tmp_path, dataset), **how)


@pytest.mark.parametrize(('seed', 'indent'), [(0, None), (1, 1)])
def test_equals_a_walk_over_the_dicts(tmp_path, monkeypatch, seed, indent):
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
    monkeypatch.setattr(f'{PARSER}.BLOCK', 512)
    dataset = ordered((9, 4, 11, 2))  # as the converters write it
    check_against(CocoVideoIndex.open(write(tmp_path, dataset)), dataset)


def test_optional_fields_may_be_absent_or_null(opened):
    dataset, optional = make_dataset((30,)), ['area', 'iscrowd', 'ignore', 'instance_id']
    for i, annotation in enumerate(dataset['annotations']):
        annotation[optional[i % 4]] = None
        del annotation[optional[(i + 1) % 4]]
    for image in dataset['images']:
        del image['is_vid_train_frame']
    index = opened(dataset)
    for i, annotation in enumerate(dataset['annotations']):
        del annotation[optional[i % 4]]
    check_against(index, dataset)
    assert not index.has_track_ids
    for annotation in dataset['annotations']:
        annotation['instance_id'] = 0
    assert opened(dataset).has_track_ids
    del dataset['annotations'][7]['instance_id']  # one entry decides
    assert not opened(dataset).has_track_ids


def test_images_without_videos_and_as_videos_of_one_frame(opened):
    dataset = make_dataset((5,))
    del dataset['videos']
    for image in dataset['images']:
        del image['video_id'], image['frame_id']
    for annotation in dataset['annotations']:
        del annotation['instance_id'], annotation['video_id']
    index, as_videos = opened(dataset), opened(dataset, load_img_as_vid=True)
    check_against(index, dataset)
    assert list(index.videos()) == []
    places = [(as_videos.image_video[i], as_videos.image_frame_ids[i]) for i in range(5)]
    assert places == [(i, 0) for i in range(5)]
    assert not index.has_track_ids and not as_videos.has_track_ids  # the ids are made up


@pytest.mark.parametrize('block', [1, 3, 64, 1 << 20])
def test_unusual_but_legal_values_in_blocks_of_any_size(tmp_path, monkeypatch, block):
    """Against `json.loads` of the whole text; a block may end within a character."""
    monkeypatch.setattr(f'{PARSER}.BLOCK', block)
    dataset = make_dataset((3, 1))
    monkeypatch.setattr(f'{PARSER}._LONG', 0)  # shows its progress
    dataset['images'][0] |= {'width': 1280.0, 'file_name': 'ordner/\u00fc "},{\\ \U0001f600.png'}
    dataset['images'][1]['file_name'] = 'no_folder.png'
    dataset['videos'].append({'id': 99, 'name': 'without frames'})
    entry = {'image_id': dataset['images'][0]['id'], 'category_id': 5, 'bbox': [-5, 3.25e1, -1, 0]}
    entry['segmentation'] = [{'counts': 'a},b', 'size': [1, 2]}, [], None, {}]
    dataset['annotations'] = [{'id': 2**53 + 1} | entry, {'id': 4.0} | entry]
    dataset = {'info': {'nested': [{'a': 1}, {'b': 2}]}} | dataset | {'licenses': [], 'n': -1.5e3}
    for options in ({'ensure_ascii': False}, {'indent': 2}):
        path = write(tmp_path, dataset, **options)
        path.write_text(path.read_text().replace('-1500.0', '-1.5e3'))  # may be cut in the middle
        check_against(CocoVideoIndex.open(path), dataset)


GONE = object()  # instead of a value


def change(dataset, place: str, value) -> None:
    """Set (or remove) a field: `images.2.id`."""
    *places, last = [int(key) if key.isdigit() else key for key in place.split('.')]
    for key in places:
        dataset = dataset[key]
    if value is GONE:
        del dataset[last]
    else:
        dataset[last] = value


# of the file that `ordered` makes: image ids 1 to 8 of videos 3 (frames 0..3), 10 (0), 17 (0..2)
BAD = [
    ('images.2.id', 1, r'image id 1: the id must be unique.*\[0\] and images\[2\]'),
    ('images.4.video_id', 77, r'image id 5: video id 77 is not in `videos`'),
    ('videos', GONE, r'image id 1: video id 3 is not in `videos`'),
    ('images.1.frame_id', GONE, r'image id 2: has no `frame_id`, or a negative one'),
    ('images.2.frame_id', 1, r'id 3: frame_id 1 of .* 3 is already that of image id 2; .* 0 to 3'),
    ('images.3.frame_id', 9, r'id 4: frame_id 9 follows, but frame_id 3 of video id 3 is missing'),
    ('images.1.frame_id', 1.5, r'id 2: `frame_id` must .* integer, not 1.5'),
    ('annotations.2.bbox', [1, 2, float('nan'), 4], r'annotation id 3: `bbox` must'),
    ('categories.1.name', '', r'category id 15: `name` must be a non-empty string'),
    ('annotations.0.image_id', 99, r'annotation id 1: image_id 99 is not in `im'),
    ('annotations.0.category_id', 6, r'annotation id 1: category_id 6 is not in'),
    ('annotations.0.instance_id', 'a', r"`instance_id` must be an integer, not 'a'"),
    ('images.5.height', 0, r'image id 6: `height` must be a positive integer'),
    ('images.5.file_name', GONE, r'image id 6: has no `file_name`'),
    ('images.5.id', GONE, r'images\[5\]: has no `id`'),
    ('images.0', 'a.png', r'images\[0\]: must be an object'),
    ('annotations', GONE, r'`annotations`: the list is missing \(it may be empty\)'),
]


@pytest.mark.parametrize(('place', 'value', 'message'), BAD)
@pytest.mark.parametrize('block', [1 << 20, 64])
def test_bad_entries(tmp_path, monkeypatch, place, value, message, block):
    """The index refuses the file; who collects the faults finds this one among them."""
    monkeypatch.setattr(f'{PARSER}.BLOCK', block)
    dataset = ordered()
    assert len(dataset['annotations']) > 4
    change(dataset, place, value)
    path = write(tmp_path, dataset)
    with pytest.raises(AnnotationError, match=f'^{path}:? .*{message}') as refused:
        CocoVideoIndex.open(path)
    assert list(tmp_path.iterdir()) == [path]  # nothing is left behind
    found = []
    try:
        CocoVideoIndex.read(path, lambda _, entry, rule: found.append(f'{path}: {entry}: {rule}'))
    except AnnotationError as error:  # no annotation file at all
        found.append(str(error))
    assert str(refused.value) in found


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'not an annotation file: it is empty'),
        (b'[{"id": 1}]', 'not an annotation file: the top level must be an object'),
        (b'{"images": [], "annotations": [{"id"', r'at character 36 where it ends \(is it cut'),
        (b'\xff\xfe{\x00}\x00', 'not UTF-8'),
        (b'{"images" 1}', "a colon must follow the key 'images'"),
        (b'{"images": []} x', 'text after the end of the object, at character 15'),
        (b'{"a": ' + b'[' * 100_000, 'nested too deeply'),
        (None, 'there is no such annotation file'),
    ],
)
def test_not_an_annotation_file(tmp_path, content, message):
    path = tmp_path / 'ann.json'
    if content is not None:
        path.write_bytes(content)
    error = FileNotFoundError if content is None else AnnotationError
    with pytest.raises(error, match=f'^{path}:? .*{message}'):
        CocoVideoIndex.open(path)
