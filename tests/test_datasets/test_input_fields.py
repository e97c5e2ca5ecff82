"""What the fields of foreign formats say is kept, or refused with the true reason."""

import json

import cv2
import numpy as np
import pytest
from own_data import coco, image, write, write_frames, write_images
from PIL import Image
from PIL.ExifTags import Base

from mmdet.core.errors import AnnotationError, ConversionError
from mmdet.datasets.parsers import CocoVideoIndex
from mmdet.programs.convert.convert import ConvertOptions, to_cocovid


def converted(kind, source, tmp_path, **options) -> dict:
    out = tmp_path / 'out.json'
    to_cocovid(kind, [source], out, ConvertOptions(img_root=tmp_path, **options))
    return json.loads(out.read_text())


def annotation(number, bbox, **fields):
    return {'id': number, 'image_id': 1, 'category_id': 3, 'bbox': bbox} | fields


def coco_file(tmp_path, annotations, images=None, **lists):
    write_images(tmp_path / 'v', ['0.jpg'])
    text = coco(images or [image(1, 'v/0.jpg')], annotations, **lists)
    return write(tmp_path, {'in.json': text}) / 'in.json'


@pytest.mark.parametrize(
    ('bbox', 'area', 'kept'),
    [
        ([10, 10, 20, 20], 250.5, 250.5),  # of a mask
        ([10.1, 10.2, 20.3, 20.4], 123, 123),
        ([-10, 10, 20, 20], 200, 100),  # cut in half
        ([10, 10, 20, 20], 0, 400),  # some tools write 0: the box has an area all the same
        ([10, 10, 20, 20], None, 400),
        ([10, 10, 20, 20], float('nan'), 400),
    ],
)
def test_the_area_of_a_mask_is_kept(tmp_path, bbox, area, kept):
    fields = {} if area is None else {'area': area}
    found = converted('coco', coco_file(tmp_path, [annotation(1, bbox, **fields)]), tmp_path)
    assert found['annotations'][0]['area'] == pytest.approx(kept)


@pytest.mark.parametrize('size', [(128, 96), (48, 64), (64, 49)])
def test_a_json_for_pictures_of_another_size_is_refused(tmp_path, size):
    images = [image(1, 'v/0.jpg') | {'width': size[0], 'height': size[1]}]
    path = coco_file(tmp_path, [annotation(1, [1, 1, 9, 9])], images)
    told = rf'in\.json: image id 1 is of {size[0]}x{size[1]} pixels, but .*0\.jpg has 64x48'
    with pytest.raises(ConversionError, match=told):
        converted('coco', path, tmp_path)


def test_sizes_are_those_of_the_picture_upright(tmp_path):
    (tmp_path / 'v').mkdir()
    exif = Image.Exif()
    exif[Base.Orientation] = 6
    Image.new('RGB', (48, 64)).save(tmp_path / 'v/0.png', exif=exif.tobytes())
    right = [image(1, 'v/0.png')]
    text = coco(right, [annotation(1, [40, 10, 20, 20])])
    path = write(tmp_path, {'in.json': text}) / 'in.json'
    assert converted('coco', path, tmp_path)['annotations'][0]['bbox'] == [40, 10, 20, 20]
    path.write_text(text.replace('"width": 64, "height": 48', '"width": 48, "height": 64'))
    with pytest.raises(ConversionError, match=r'48x64 pixels, but .*0\.png has 64x48'):
        converted('coco', path, tmp_path)


def turned_tiff(path):
    """Stored 60x100, upright 100x60; white at x 0..20, y 0..20 of the upright picture."""
    upright = np.zeros((60, 100), np.uint8)
    upright[:20, :20] = 255
    path.parent.mkdir(parents=True)
    stored = np.ascontiguousarray(np.rot90(upright))  # orientation 6: shown a quarter clockwise
    Image.fromarray(stored).save(path, tiffinfo={Base.Orientation: 6})


def test_tiff_with_orientation_converts_as_it_is_seen(tmp_path):
    turned_tiff(tmp_path / 'yolo/v/1.tif')
    label = '0 .1 .16666667 .2 .33333333\n'
    write(tmp_path, {'yolo/v/1.txt': label, 'yolo/classes.txt': 'a'})
    found = converted('yolo', tmp_path / 'yolo', tmp_path)
    assert (found['images'][0]['width'], found['images'][0]['height']) == (100, 60)
    assert found['annotations'][0]['bbox'] == pytest.approx([0, 0, 20, 20], abs=1e-3)
    turned_tiff(tmp_path / 'voc/v/1.tif')
    box = '<xmin>0</xmin><ymin>0</ymin><xmax>20</xmax><ymax>20</ymax>'
    xml = '<annotation><size><width>100</width><height>60</height></size><object><name>a</name>'
    write(tmp_path, {'voc/v/1.xml': f'{xml}<bndbox>{box}</bndbox></object></annotation>'})
    assert converted('voc', tmp_path / 'voc', tmp_path)['annotations'][0]['bbox'] == [0, 0, 20, 20]


def test_boxes_that_were_left_out_are_told_when_none_remains(tmp_path):
    path = coco_file(tmp_path, [annotation(7, [70, 10, 25, 25])])
    told = r'None of the 1 frames has a labelled object\. 1 boxes have no area .*annotation id 7'
    with pytest.raises(ConversionError, match=told):
        converted('coco', path, tmp_path)


BIG = 10**15 + 7


def test_category_ids_may_be_hashes(tmp_path):
    categories = [{'id': BIG, 'name': 'cat'}, {'id': -5, 'name': 'dog'}]
    entries = [annotation(BIG, [1, 1, 9, 9], category_id=BIG, iscrowd=0, area=81)]
    content = {
        'videos': [{'id': BIG, 'name': 'v'}],
        'images': [image(1, 'v/0.jpg') | {'video_id': BIG, 'frame_id': 0}],
        'annotations': entries,
        'categories': categories,
    }
    path = write(tmp_path, {'vid.json': json.dumps(content)}) / 'vid.json'
    index = CocoVideoIndex.open(path)
    assert index.ann_categories.tolist() == [BIG]
    found = converted('coco', coco_file(tmp_path, entries, categories=categories), tmp_path)
    assert [c['name'] for c in found['categories']] == ['cat', 'dog']
    assert found['annotations'][0]['category_id'] == 1


@pytest.mark.parametrize(
    ('field', 'value', 'told'),
    [
        ('id', 2**63 + 1, r'`id` must be an integer of at most 9223372036854775807, not 9223'),
        ('frame_id', 2**31, r'`frame_id` must be an integer of at most 2147483647, not 2147483648'),
        ('id', 'a1', r"`id` must be an integer, not 'a1'"),
        ('id', True, r'`id` must be an integer, not True'),
    ],
)
def test_ids_that_cannot_be_say_the_true_reason(tmp_path, field, value, told):
    images = [image(1, 'v/0.jpg') | {'video_id': 1, 'frame_id': 0} | {field: value}]
    content = json.loads(coco(images, [], videos=[{'id': 1, 'name': 'v'}]))
    path = write(tmp_path, {'vid.json': json.dumps(content)}) / 'vid.json'
    with pytest.raises(AnnotationError, match=told):
        CocoVideoIndex.open(path)


@pytest.mark.parametrize('kind', ['mot', 'yolo'])
def test_one_track_twice_in_a_frame_is_refused(tmp_path, kind):
    if kind == 'mot':
        write_frames(tmp_path / 's/img1', 2, first=1)
        rows = '1,4,1,1,9,9,1,1,1\n2,4,1,1,9,9,1,1,1\n2,4,5,5,9,9,1,1,1\n'
        write(tmp_path, {'s/gt/gt.txt': rows})
        told = r'row 3 of .*gt\.txt: the track 4 is already that of row 2'
    else:
        write_images(tmp_path / 'v', ['1.jpg'])
        rows = '0 .5 .5 .2 .2 4\n0 .3 .3 .2 .2 4\n'
        write(tmp_path, {'v/1.txt': rows, 'classes.txt': 'a\n'})
        told = r'row 2 of .*1\.txt: the track 4 is already that of row 1'
    with pytest.raises(ConversionError, match=told):
        converted(kind, tmp_path, tmp_path)


def test_names_of_roboflow_group_to_videos(tmp_path):
    hashes = ['3f2a9c1e0b7d4a5f8e6c3f2a9c1e0b71', 'a1b2c3d4e5f60718293a4b5c6d7e8f92']
    numbers = [(1, 2), (1, 10), (2, 1), (2, 2)]
    names = [f'cam{c}_mp4-{n}_jpg.rf.{hashes[n % 2]}' for c, n in numbers]
    write_images(tmp_path / 'images', [f'{name}.jpg' for name in names])
    rows = {f'labels/{name}.txt': f'0 .5 .5 .{i + 2} .2\n' for i, name in enumerate(names)}
    write(tmp_path, rows | {'data.yaml': 'names: [a]'})
    found = converted('yolo', tmp_path, tmp_path, group='prefix')
    assert [video['name'] for video in found['videos']] == ['images/cam1_mp4', 'images/cam2_mp4']
    assert [i['file_name'].split('_jpg')[0] for i in found['images']] == [
        *('images/cam1_mp4-2', 'images/cam1_mp4-10'),
        *('images/cam2_mp4-1', 'images/cam2_mp4-2'),
    ]


def test_a_huge_image_converts(tmp_path):
    """Wider than Pillow's limit; a bitmap of 1 bit per pixel."""
    (tmp_path / 'v').mkdir()
    assert cv2.imwrite(str(tmp_path / 'v/1.png'), np.zeros((14000, 14000), np.uint8))
    write(tmp_path, {'v/1.txt': '0 .5 .5 .2 .2\n', 'classes.txt': 'ship\n'})
    found = converted('yolo', tmp_path, tmp_path)
    assert (found['images'][0]['width'], found['images'][0]['height']) == (14000, 14000)
