"""Class names and label files as people write them, through the whole conversion."""

import json

import pytest
from own_data import write, write_frames, write_images

from mmdet.core.errors import ConversionError, EvaluationError, ILSVRCError
from mmdet.datasets.parsers import CocoVideoIndex
from mmdet.evaluation.frame_list import read_frame_list
from mmdet.programs.convert.class_names import read_names
from mmdet.programs.convert.convert import ConvertOptions, to_cocovid
from mmdet.programs.convert.ilsvrc_lists import read_val_videos
from mmdet.programs.convert.splits import split_by_file

VOC = (
    '<?xml version="1.0" encoding="{}"?><annotation><size><width>64</width><height>48</height>'
    '</size><object><name>{}</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax>'
    '</bndbox></object></annotation>'
)
CVAT = (
    '<?xml version="1.0" encoding="{}"?><annotations><version>1.1</version><meta><task></task>'
    '</meta><image id="0" name="1.jpg" width="64" height="48">'
    '<box label="{}" xtl="1" ytl="1" xbr="9" ybr="9" occluded="0"/></image></annotations>'
)


def categories(kind, root, tmp_path) -> list[str]:
    out = tmp_path / 'out.json'
    to_cocovid(kind, [root], out, ConvertOptions())
    return [category['name'] for category in json.loads(out.read_text())['categories']]


@pytest.mark.parametrize(
    ('encoding', 'name'), [('gbk', '汽车'), ('gb2312', '汽车'), ('euc-jp', '車'), ('utf-8', 'ü')]
)
def test_xml_in_the_encodings_of_other_systems(tmp_path, encoding, name):
    write_images(tmp_path / 'voc/v', ['1.jpg'])
    (tmp_path / 'voc/v/1.xml').write_bytes(VOC.format(encoding, name).encode(encoding))
    assert categories('voc', tmp_path / 'voc', tmp_path) == [name]
    write_images(tmp_path / 'cvat/images', ['1.jpg'])
    (tmp_path / 'cvat/annotations.xml').write_bytes(CVAT.format(encoding, name).encode(encoding))
    assert categories('cvat', tmp_path / 'cvat', tmp_path) == [name]


def mot(root, labels: bytes, truth: bytes = b'1,1,1,1,9,9,1,1,1\n'):
    write_frames(root / 's/img1', 1, first=1)
    write(root, {'s/gt/gt.txt': '', 's/gt/labels.txt': ''})
    (root / 's/gt/gt.txt').write_bytes(truth)
    (root / 's/gt/labels.txt').write_bytes(labels)
    return root


def test_marks_of_windows_editors_do_not_count(tmp_path):
    root = mot(
        tmp_path / 'mot', '\ufeffcar\r\nbus\r\n'.encode(), b'\xef\xbb\xbf1,1,1,1,9,9,1,1,1\r'
    )
    assert categories('mot', root, tmp_path) == ['car']  # that of class 1
    frames = tmp_path / 'f.txt'
    frames.write_bytes('\ufeffs 0\r\n'.encode())
    index = CocoVideoIndex.open(tmp_path / 'out.json')
    assert read_frame_list(frames, index).tolist() == [1]
    lists = tmp_path / 'l.txt'
    lists.write_bytes('\ufeffval/v1 1 0 10\r\nval/v2 2 0 10\r\n'.encode())
    assert [video.name for video in read_val_videos(lists)] == ['val/v1', 'val/v2']
    split = tmp_path / 's.txt'
    split.write_bytes('\ufefftrain a\rval b'.encode())
    assert split_by_file(['a', 'b'], split) == {'a': 'train', 'b': 'val'}


def test_text_that_is_not_utf8_names_its_file(tmp_path):
    gbk = '汽车\n'.encode('gbk')
    with pytest.raises(ConversionError, match=r'labels\.txt cannot be read as text: line 1'):
        categories('mot', mot(tmp_path / 'a', gbk), tmp_path)
    with pytest.raises(ConversionError, match=r'gt\.txt cannot be read as text: it is UTF-16'):
        categories('mot', mot(tmp_path / 'b', b'car\n', '1,1,1,1,9,9\n'.encode('utf-16')), tmp_path)
    (tmp_path / 'list.txt').write_bytes(gbk)
    with pytest.raises(ILSVRCError, match=r'list\.txt cannot be read as text'):
        read_val_videos(tmp_path / 'list.txt')
    root = mot(tmp_path / 'c', b'car\n')
    categories('mot', root, tmp_path)
    with pytest.raises(EvaluationError, match=r'list\.txt cannot be read as text'):
        read_frame_list(tmp_path / 'list.txt', CocoVideoIndex.open(tmp_path / 'out.json'))


YAML_NAMES = ['yes', 'No', 'null', '007', '12:30', '1e3', '~', '2024-01-01', 'on', 'true', '0x1F']


@pytest.mark.parametrize('form', ['list', 'block', 'numbers'])
def test_yaml_names_are_taken_as_they_are_written(tmp_path, form):
    text = {
        'list': f'names: [{", ".join(YAML_NAMES)}]',
        'block': 'names:\n' + ''.join(f'- {name}\n' for name in YAML_NAMES),
        'numbers': 'names:\n' + ''.join(f'  {i}: {n}\n' for i, n in enumerate(YAML_NAMES)),
    }[form]
    path = write(tmp_path, {'data.yaml': f'nc: 11\n{text}\n'}) / 'data.yaml'
    assert read_names(path) == YAML_NAMES
    path.write_text('names: ["say \\"hi\\"", \'it\'\'s\', "007"] # quoted\n')
    assert read_names(path) == ['say "hi"', "it's", '007']


def test_yaml_names_reach_the_file(tmp_path):
    write_images(tmp_path / 'v', ['1.jpg'])
    labels = ''.join(f'{i} .5 .5 .2 .2\n' for i in range(5))
    text = 'names:\n  0: yes\n  1: No\n  2: null\n  3: 007\n  4: 12:30\n'
    write(tmp_path, {'v/1.txt': labels, 'data.yaml': text})
    assert categories('yolo', tmp_path, tmp_path) == ['yes', 'No', 'null', '007', '12:30']


@pytest.mark.parametrize(
    ('name', 'text', 'told'),
    [
        ('data.yaml', 'names: [helmet, vest, helmet]', r"numbers 0 and 2 have one name, 'helmet'"),
        ('data.yaml', 'names: {0: a, 1: b, 2: a}', r"numbers 0 and 2 have one name, 'a'"),
        ('data.yaml', 'names: {0: a, 0: b}', 'line 1: the number 0 has two names'),
        ('data.yaml', 'names: [a]\nnames: [b]', 'found 2 times'),
        ('data.yaml', 'names: [a, [b]]', 'line 1: `names` must be'),
        ('data.yaml', 'names: [a, ""]', 'line 1: `names` must be'),
        ('data.yaml', 'names: {0: a, 2: b}', '`names` must be'),
        ('data.yaml', 'names: a', '`names` must be'),
        ('data.yaml', '', '`names` must be'),
        ('data.yaml', 'names: [a', 'cannot be read as YAML'),
        ('obj.names', 'a\nb\n\nb\n', "numbers 1 and 2 have one name, 'b'"),
        ('classes.txt', '\n', 'holds no class name'),
    ],
)
def test_names_that_cannot_be_are_one_sentence(tmp_path, name, text, told):
    write_images(tmp_path / 'v', ['1.jpg'])
    write(tmp_path, {'v/1.txt': '0 .5 .5 .2 .2\n', name: text})
    with pytest.raises(ConversionError, match=rf'{name}.*{told}'):
        categories('yolo', tmp_path, tmp_path)
    assert not (tmp_path / 'out.json').exists()


def test_one_name_for_two_classes_of_mot_is_refused(tmp_path):
    with pytest.raises(ConversionError, match=r'labels\.txt: the numbers 1 and 3 have one name'):
        categories('mot', mot(tmp_path / 'm', b'car\nbus\ncar\n'), tmp_path)
