"""The rendered frames in the ILSVRC folder layout: XML, JPEG, lists."""

from collections import defaultdict
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


class SampleWriter:
    """Writes frame by frame; the lists come last, so an unfinished set cannot be converted."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lists: dict[str, list[str]] = defaultdict(list)

    def add_image(
        self, subset: str, name: str, image: np.ndarray, labels: list[Label], degraded_by: str = ''
    ) -> None:
        """Write one frame and its XML.

        Args:
            subset: 'VID' or 'DET'; labels of VID carry track, occluded and generated.
            name: path below Data/SUBSET without suffix, its first part the split.
            image: [H, W, 3] uint8 BGR.
            degraded_by: what degrades the frame; recorded in ImageSets/VID_SPLIT_degraded.txt.
        """
        jpeg = self.root / 'Data' / subset / f'{name}.JPEG'
        xml = self.root / 'Annotations' / subset / f'{name}.xml'
        write_image(jpeg, image, JPEG_QUALITY)
        with atomic_write(xml, 'wb', sync=False) as file:
            file.write(_xml(name, image.shape[:2], labels, tracks=subset == 'VID'))
        if degraded_by:
            self.lists[f'VID_{name.split("/")[0]}_degraded.txt'].append(f'{name} {degraded_by}')

    def list_train_video(self, name: str, num_frames: int) -> None:
        frames = np.linspace(1, num_frames, min(KEY_FRAMES, num_frames)).round().astype(int)
        rows = [f'{name} 1 {frame} {num_frames}' for frame in frames]
        self.lists['VID_train_15frames.txt'] += rows

    def list_val_video(self, name: str, num_frames: int) -> None:
        self.lists['VID_val_videos.txt'].append(f'{name} 1 0 {num_frames}')

    def list_image(self, name: str) -> None:
        self.lists['DET_train_30classes.txt'].append(f'{name} 1')

    def finish(self) -> None:
        for name, rows in self.lists.items():
            with atomic_write(self.root / 'ImageSets' / name) as file:
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
