"""The rendered frames in the ILSVRC folder layout: XML, JPEG, lists."""

from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from mmdet.core.fileio import atomic_write
from mmdet.core.images import write_image
from mmdet.datasets.imagenet_classes import IMAGENET_VID_CLASSES, IMAGENET_VID_WNIDS
from mmdet.programs.sample.scene import Label

WNIDS = dict(zip(IMAGENET_VID_CLASSES, IMAGENET_VID_WNIDS, strict=True))
FOLDERS = ('Annotations', 'Data', 'ImageSets')
JPEG_QUALITY = 90
# Per training video; ImageNet VID has 15 of each. Many videos with few key frames each keep a model
# from learning the backgrounds and the individuals by heart.
KEY_FRAMES = 4


def write_frame(root: Path, subset: str, name: str, image: np.ndarray, labels: list[Label]) -> None:
    """Write one frame and its XML.

    Args:
        subset: 'VID' or 'DET'; labels of VID carry track, occluded and generated.
        name: path below Data/SUBSET without suffix, its first part the split.
        image: [H, W, 3] uint8 BGR.
    """
    write_image(root / 'Data' / subset / f'{name}.JPEG', image, JPEG_QUALITY)
    with atomic_write(root / 'Annotations' / subset / f'{name}.xml', 'wb', sync=False) as file:
        file.write(_xml(name, image.shape[:2], labels, tracks=subset == 'VID'))


def list_rows(split: str, name: str, num_frames: int) -> tuple[str, list[str]]:
    """The list that a video or image is in, and its rows there."""
    if split == 'train':
        frames = np.linspace(1, num_frames, min(KEY_FRAMES, num_frames)).round().astype(int)
        return 'VID_train_15frames.txt', [f'{name} 1 {frame} {num_frames}' for frame in frames]
    if split == 'val':
        return 'VID_val_videos.txt', [f'{name} 1 0 {num_frames}']
    return 'DET_train_30classes.txt', [f'{name} 1']


def write_lists(root: Path, lists: Mapping[str, list[str]]) -> None:
    """The lists come last, so that an unfinished set cannot be converted."""
    for name, rows in lists.items():
        with atomic_write(root / 'ImageSets' / name) as file:
            file.write('\n'.join(rows) + '\n')


def _xml(name: str, shape: tuple[int, int], labels: list[Label], tracks: bool) -> bytes:
    folder, filename = name.rsplit('/', 1)
    root = ElementTree.Element('annotation')
    _fields(root, {'folder': folder.split('/', 1)[1], 'filename': filename})
    _fields(ElementTree.SubElement(root, 'source'), {'database': 'vfe.pytorch sample'})
    _fields(ElementTree.SubElement(root, 'size'), {'width': shape[1], 'height': shape[0]})
    for label in labels:
        node = ElementTree.SubElement(root, 'object')
        _fields(node, ({'trackid': label.track} if tracks else {}) | {'name': WNIDS[label.name]})
        xmin, ymin, xmax, ymax = label.box
        sides = {'xmax': xmax, 'xmin': xmin, 'ymax': ymax, 'ymin': ymin}
        _fields(ElementTree.SubElement(node, 'bndbox'), sides)
        if tracks:
            _fields(node, {'occluded': int(label.occluded), 'generated': 0})
    ElementTree.indent(root, '\t')
    return ElementTree.tostring(root) + b'\n'


def _fields(node: ElementTree.Element, values: dict[str, object]) -> None:
    for tag, value in values.items():
        ElementTree.SubElement(node, tag).text = str(value)


def check_free(root: Path, marker: str) -> list[Path]:
    """The folders of an earlier sample in `root`, which may be replaced.

    Raises:
        FileExistsError: there are such folders, but no `marker` file that says they are a sample.
    """
    found = [root / name for name in FOLDERS if (root / name).exists()]
    if found and not (root / marker).is_file():
        raise FileExistsError(
            f'{found[0]} exists and is not a sample made by this command (there is no '
            f'{root / marker}). Choose another output folder, or remove it first.'
        )
    return found
