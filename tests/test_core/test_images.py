"""Images of all kinds: upright, with their right size, and with contrast."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import Base

from mmdet.core.errors import UndecodableFrameError
from mmdet.core.images import image_size, read_image

# CIPA DC-008, 4.6.4 A, Orientation: where the 0th row and the 0th column of the stored picture are
# when it is seen upright
STORED_ROW_AND_COLUMN = {
    **{1: ('top', 'left'), 2: ('top', 'right'), 3: ('bottom', 'right'), 4: ('bottom', 'left')},
    **{5: ('left', 'top'), 6: ('right', 'top'), 7: ('right', 'bottom'), 8: ('left', 'bottom')},
}
BORDERS = {
    **{'top': np.s_[:16, 16:-16], 'bottom': np.s_[-16:, 16:-16]},
    **{'left': np.s_[16:-16, :16], 'right': np.s_[16:-16, -16:]},
}
RED, GREEN = (255, 0, 0), (0, 255, 0)


def marked(width: int = 96, height: int = 48) -> np.ndarray:
    """RGB; the 0th row is red, the 0th column green, all else grey."""
    image = np.full((height, width, 3), 128, np.uint8)
    image[:16], image[16:, :16] = RED, GREEN
    return image


def border(image: np.ndarray, side: str) -> np.ndarray:
    """The mean colour (RGB) along a side, without its corners."""
    return image[BORDERS[side]].mean(axis=(0, 1))[::-1]


def encoded(ending: str, *options: int) -> bytes:
    return cv2.imencode(ending, marked()[..., ::-1], options)[1].tobytes()


def refused(path, said: str) -> None:
    with pytest.raises(UndecodableFrameError, match=rf'{path.name}.*{said}'):
        read_image(path)


@pytest.mark.parametrize('orientation', STORED_ROW_AND_COLUMN)
@pytest.mark.parametrize('ending', ['jpg', 'png', 'webp', 'tif', 'uint16.tif'])
def test_images_are_turned_upright_and_so_is_their_size(tmp_path, ending, orientation):
    path, exif = tmp_path / f'a.{ending}', Image.Exif()
    exif[Base.Orientation] = orientation
    if path.suffix == '.tif':
        saved = marked() if ending == 'tif' else marked()[..., 0].astype(ending.split('.')[0])
        Image.fromarray(saved).save(path, tiffinfo=exif)
    else:
        Image.fromarray(marked()).save(path, exif=exif.tobytes())
    image = read_image(path)
    row, column = STORED_ROW_AND_COLUMN[orientation]
    grey = '.' in ending  # red is 255, and green is 0 there
    assert np.abs(border(image, row) - (255 if grey else RED)).max() < 60
    assert np.abs(border(image, column) - (0 if grey else GREEN)).max() < 60
    assert image.shape[1::-1] == image_size(path) == ((96, 48) if orientation < 5 else (48, 96))


@pytest.mark.parametrize(
    ('ending', 'mode'),
    [('jpg', 'L'), ('jpg', 'CMYK'), ('png', '1'), ('png', 'P'), ('png', 'RGBA'), ('tif', 'CMYK')],
)
def test_palettes_grey_and_transparency_load_in_colour(tmp_path, ending, mode):
    path, picture = tmp_path / f'a.{ending}', Image.fromarray(marked()).convert(mode)
    picture.save(path)
    expected = np.asarray(picture.convert('RGB')).astype(int)
    assert np.abs(read_image(path)[..., ::-1] - expected).mean() < 8
    assert image_size(path) == (96, 48)


def test_a_cut_jpeg_with_a_thumbnail_is_not_whole(tmp_path):
    """The thumbnail, in the EXIF data of phones, has an end marker of its own."""
    rng, path = np.random.default_rng(0), tmp_path / 'a.jpg'
    large, small = (Image.fromarray(rng.integers(0, 256, (n, n, 3), np.uint8)) for n in (200, 40))
    exif, thumbnail = Image.Exif(), io.BytesIO()
    exif[Base.ImageDescription] = 'x'
    small.save(thumbnail, 'JPEG')
    large.save(path, exif=exif.tobytes() + thumbnail.getvalue())
    data = path.read_bytes()
    assert data.count(b'\xff\xd9') == 2 and read_image(path).shape == (200, 200, 3)
    path.write_bytes(data[: int(len(data) * 0.95)])
    refused(path, 'truncated')


def test_damage_inside_of_a_jpeg_is_told_and_odd_headers_are_none(tmp_path):
    """OpenCV gives damaged pictures as whole ones."""
    whole, path = encoded('.jpg', cv2.IMWRITE_JPEG_PROGRESSIVE, 1), tmp_path / 'a.jpg'
    data = bytearray(whole)
    data[data.index(b'JFIF') + 5] = 9  # of the version
    path.write_bytes(data)
    np.testing.assert_array_equal(read_image(path), cv2.imread(str(path)))
    middle = (data.rindex(b'\xff\xda') + len(data)) // 2
    path.write_bytes(whole[:middle] + data[middle + 9 :])
    refused(path, 'it is damaged or truncated')


def test_no_image_is_named(tmp_path):
    for data in (b'', b'no image'):
        (tmp_path / 'a.jpg').write_bytes(data)
        with pytest.raises(UndecodableFrameError, match=r'a\.jpg'):
            image_size(tmp_path / 'a.jpg')
    with pytest.raises(FileNotFoundError):
        image_size(tmp_path / 'b.jpg')
