"""Images of more than 8 bits to the 8 bits that models take, with usable contrast."""

import numpy as np

# what sensors have; a picture has as many bits as its brightest sample needs
_DEPTHS = (8, 10, 12, 14, 16, 20, 24, 32)


def to_eight_bits(image: np.ndarray) -> np.ndarray:
    """uint8 of an image of any number type.

    Whole numbers keep the upper 8 of the bits in use: thermal and X-ray cameras write 10, 12 or 14
    bits in files of 16, of which the upper 8 would be nearly black. Fractions are taken from 0..1
    or, where they exceed it, from 0..255.

    Raises:
        ValueError: values that have no place in 8 bits; says which, and what to do.
    """
    if image.dtype == np.uint8:
        return image
    lowest, highest = image.min(), image.max()
    fault = f'values from {lowest} to {highest}'
    if image.dtype.kind == 'f':
        if not np.isfinite(image).all():
            raise ValueError('it holds fractions that are not finite. ' + _ADVICE)
        if lowest < 0 or highest > 255:
            raise ValueError(f'it holds fractions, {fault}, not in 0..1 or 0..255. {_ADVICE}')
        return np.rint(image * 255 if highest <= 1 else image).astype(np.uint8)
    if lowest < 0:
        raise ValueError(f'it holds {fault}: those below 0 have no place in 8 bits. {_ADVICE}')
    bits = next(depth for depth in _DEPTHS if int(highest) < 1 << depth)
    return (image >> (bits - 8)).astype(np.uint8)


_ADVICE = 'Scale them to 8 or 16 bits in the same way for all frames.'
