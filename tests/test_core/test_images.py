"""Images of all kinds: upright, with their right size, and with contrast."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import Base

from mmdet.core.errors import UndecodableFrameError
from mmdet.core.image_header import read_header
from mmdet.core.images import image_size, read_image

# CIPA DC-008, 4.6.4 A, Orientation: where the 0th row and the 0th column of the stored picture are
# when it is seen upright
STORED_ROW_AND_COLUMN = {
    1: ('top', 'left'),
    2: ('top', 'right'),
    3: ('bottom', 'right'),
    4: ('bottom', 'left'),
    5: ('left', 'top'),
    6: ('right', 'top'),
    7: ('right', 'bottom'),
    8: ('left', 'bottom'),
}
RED, GREEN, BLUE, GREY = (255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128)


def marked(width=96, height=48) -> np.ndarray:
    """RGB; the 0th row is red, the 0th column green, where they meet is blue."""
    image = np.full((height, width, 3), GREY, np.uint8)
    image[:16], image[:, :16], image[:16, :16] = RED, GREEN, BLUE
    return image


def edge(image: np.ndarray, side: str) -> np.ndarray:
    """The colour (RGB) in the middle of a side."""
    height, width = image.shape[:2]
    y, x = {
        'top': (8, width // 2),
        'bottom': (height - 8, width // 2),
        'left': (height // 2, 8),
        'right': (height // 2, width - 8),
    }[side]
    return image[y, x, ::-1].astype(int)


def save(path, image, orientation):
    exif = Image.Exif()
    exif[Base.Orientation] = orientation
    if path.suffix == '.tif':
        Image.fromarray(image).save(path, tiffinfo={Base.Orientation: orientation})
    else:
        Image.fromarray(image).save(path, exif=exif.tobytes())
    return path


@pytest.mark.parametrize('orientation', STORED_ROW_AND_COLUMN)
@pytest.mark.parametrize('ending', ['jpg', 'png', 'webp', 'tif'])
def test_images_are_turned_upright_and_so_is_their_size(tmp_path, ending, orientation):
    path = save(tmp_path / f'a.{ending}', marked(), orientation)
    image = read_image(path)
    row, column = STORED_ROW_AND_COLUMN[orientation]
    assert np.abs(edge(image, row) - RED).max() < 60
    assert np.abs(edge(image, column) - GREEN).max() < 60
    assert image.shape[1::-1] == image_size(path) == ((96, 48) if orientation < 5 else (48, 96))


@pytest.mark.parametrize('orientation', STORED_ROW_AND_COLUMN)
@pytest.mark.parametrize('kind', ['uint16', 'float32'])
def test_deep_tiff_is_turned_too(tmp_path, orientation, kind):
    grey = np.zeros((48, 96), kind)
    grey[:16] = 0.5 if kind == 'float32' else 40000
    path = save(tmp_path / 'a.tif', grey, orientation)
    image, row = read_image(path), STORED_ROW_AND_COLUMN[orientation][0]
    assert image.shape[1::-1] == image_size(path) == ((96, 48) if orientation < 5 else (48, 96))
    lit = {'left': image[:, :16], 'right': image[:, -16:], 'top': image[:16], 'bottom': image[-16:]}
    assert lit[row].min() == lit[row].max() == (128 if kind == 'float32' else 40000 >> 8)
    assert np.count_nonzero(image) == lit[row].size


def png_chunk(kind: bytes, content: bytes) -> bytes:
    check = struct.pack('>I', zlib.crc32(kind + content))
    return struct.pack('>I', len(content)) + kind + content + check


def test_exif_behind_the_pixels_of_a_png_counts(tmp_path):
    data = cv2.imencode('.png', marked()[..., ::-1])[1].tobytes()
    exif = b'MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0'
    path = tmp_path / 'a.png'
    path.write_bytes(data[:-12] + png_chunk(b'eXIf', exif) + data[-12:])
    assert image_size(path) == read_image(path).shape[1::-1] == (48, 96)
    assert edge(read_image(path), 'right').tolist() == list(RED)


@pytest.mark.parametrize('mode', ['1', 'L', 'P', 'LA', 'RGB', 'RGBA', 'CMYK'])
@pytest.mark.parametrize('ending', ['jpg', 'png', 'webp', 'tif', 'bmp'])
def test_palettes_grey_and_transparency_load_in_colour(tmp_path, ending, mode):
    picture = Image.fromarray(marked()).convert('RGB' if mode == 'CMYK' else mode)
    path = tmp_path / f'a.{ending}'
    try:
        (picture.convert(mode) if mode == 'CMYK' else picture).save(path)
    except OSError:
        pytest.skip(f'{ending} has no {mode}')
    expected = np.asarray(picture.convert('RGB')).astype(int)
    found = read_image(path)[..., ::-1]
    assert np.abs(found - expected).mean() < 8
    assert image_size(path) == (96, 48)


def deep(dtype, background, thing) -> np.ndarray:
    image = np.full((60, 100), background, dtype)
    image[10:30, 10:40] = thing
    return image


@pytest.mark.parametrize(
    ('dtype', 'background', 'thing', 'seen'),
    [
        ('uint16', 1000, 3500, (62, 218)),  # 12 bits: a 16th
        ('uint16', 300, 900, (75, 225)),  # 10 bits: a quarter
        ('uint16', 8000, 16000, (125, 250)),  # 14 bits: a 64th
        ('uint16', 0x1234, 0xFEDC, (0x12, 0xFE)),  # the whole range: the upper byte, as ever
        ('uint16', 7, 200, (7, 200)),  # 8 bits in 16
        ('int16', 1000, 3500, (62, 218)),
        ('int32', 1 << 20, 1 << 23, (16, 128)),
        ('uint32', 0, 1 << 31, (0, 128)),
        ('float32', 0.25, 0.75, (64, 191)),
        ('float32', 20, 200, (20, 200)),
        ('float64', 0.25, 1.0, (64, 255)),
    ],
)
def test_deep_images_keep_usable_contrast(tmp_path, dtype, background, thing, seen):
    image = deep(dtype, background, thing)
    for ending in ('tif', 'png') if dtype == 'uint16' else ('tif',):
        for colours in (image, np.dstack([image] * 3)):
            path = str(tmp_path / f'a.{ending}')
            assert cv2.imwrite(path, colours)
            loaded = read_image(path)
            assert loaded.shape == (60, 100, 3) and loaded.dtype == np.uint8
            assert loaded[50, 50].tolist() == [seen[0]] * 3
            assert loaded[20, 20].tolist() == [seen[1]] * 3
            assert image_size(path) == (100, 60)


@pytest.mark.parametrize(
    ('dtype', 'thing', 'told'),
    [
        ('float32', 300.5, r'fractions, values from 0\.0 to 300\.5, not in 0\.\.1 or 0\.\.255'),
        ('float32', -1, 'values from -1.0 to 0.0'),
        ('float32', np.nan, 'not finite'),
        ('int16', -40, 'values from -40 to 0: those below 0'),
    ],
)
def test_what_has_no_place_in_eight_bits_is_one_sentence(tmp_path, dtype, thing, told):
    path = str(tmp_path / 'a.tif')
    cv2.imwrite(path, deep(dtype, 0, thing))
    with pytest.raises(UndecodableFrameError, match=rf'a\.tif: it holds .*{told}'):
        read_image(path)


def huge_png(path, side):
    rows = zlib.compressobj(9)
    data = b''.join(rows.compress(bytes(1 + side // 8)) for _ in range(side)) + rows.flush()
    head = struct.pack('>IIBBBBB', side, side, 1, 0, 0, 0, 0)
    chunks = [(b'IHDR', head), (b'IDAT', data), (b'IEND', b'')]
    path.write_bytes(
        b'\x89PNG\r\n\x1a\n'
        + b''.join(
            struct.pack('>I', len(content))
            + kind
            + content
            + struct.pack('>I', zlib.crc32(kind + content))
            for kind, content in chunks
        )
    )
    return path


def test_the_size_of_a_huge_image_is_read_from_its_header(tmp_path):
    assert image_size(huge_png(tmp_path / 'a.png', 32000)) == (32000, 32000)


def phone_jpeg(side=200) -> bytes:
    """With a thumbnail, which has an end marker of its own, in its EXIF data."""
    rng = np.random.default_rng(0)
    buffer, small = io.BytesIO(), io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(small, 'JPEG')
    exif = Image.Exif()
    exif[Base.ImageDescription] = 'x'
    block = exif.tobytes() + small.getvalue()
    Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8)).save(
        buffer, 'JPEG', exif=block
    )
    assert buffer.getvalue().count(b'\xff\xd9') == 2
    return buffer.getvalue()


@pytest.mark.parametrize('part', [0.3, 0.6, 0.95])
def test_a_cut_jpeg_with_a_thumbnail_is_not_whole(tmp_path, part):
    data = phone_jpeg()
    path = tmp_path / 'a.jpg'
    path.write_bytes(data)
    assert read_image(path).shape == (200, 200, 3)
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(UndecodableFrameError, match='truncated'):
        read_image(path)


@pytest.mark.parametrize(
    'options', [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 5)]
)
def test_damage_inside_of_a_jpeg_is_told(tmp_path, options):
    """OpenCV gives such pictures as whole ones."""
    data = cv2.imencode('.jpg', marked()[..., ::-1], list(options))[1].tobytes()
    path = tmp_path / 'a.jpg'
    path.write_bytes(data)
    np.testing.assert_array_equal(read_image(path), cv2.imread(str(path)))
    middle = (data.rindex(b'\xff\xda') + len(data)) // 2
    path.write_bytes(data[:middle] + data[middle + 9 :])
    with pytest.raises(UndecodableFrameError, match=r'a\.jpg: it is damaged or truncated'):
        read_image(path)


def test_odd_headers_are_no_damage(tmp_path):
    data = bytearray(cv2.imencode('.jpg', marked()[..., ::-1])[1].tobytes())
    path = tmp_path / 'a.jpg'
    data[data.index(b'JFIF') + 5] = 9  # of the version
    path.write_bytes(data)
    np.testing.assert_array_equal(read_image(path), cv2.imread(str(path)))


def test_every_beginning_of_a_file_is_a_header_or_none(tmp_path):
    """No cut or broken header ends in another error than that it is no image."""
    for ending in ('.jpg', '.png', '.webp', '.tif', '.bmp'):
        data = cv2.imencode(ending, marked())[1].tobytes()
        for length in range(0, min(len(data), 400)):
            read_header(data[:length])
        for position in range(4, 200):
            read_header(data[:position] + b'\xff' + data[position + 1 :])


def test_no_image_is_named(tmp_path):
    path = tmp_path / 'a.jpg'
    for data in (b'', b'no image'):
        path.write_bytes(data)
        with pytest.raises(UndecodableFrameError, match=r'a\.jpg'):
            image_size(path)
    with pytest.raises(FileNotFoundError):
        image_size(tmp_path / 'b.jpg')
