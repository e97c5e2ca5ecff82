"""Files that try to make a reader do something: written by code, so that none is in the repository.

An assembler for pickles, since `pickle.dumps` writes honest ones only.
"""

import io
import struct
import zipfile
from typing import Any


class Raw(bytes):
    """Opcodes that leave one value on the stack."""


def asm(value: Any) -> Raw:
    """Opcodes that leave `value` on the stack."""
    match value:
        case Raw():
            return value
        case None | True | False:
            return Raw({None: b'N', True: b'\x88', False: b'\x89'}[value])
        case int():
            return Raw(b'\x8a\x09' + value.to_bytes(9, 'little', signed=True))
        case str():
            return Raw(b'X' + struct.pack('<I', len(value)) + value.encode('ascii'))
        case bytes():
            return Raw(b'B' + struct.pack('<I', len(value)) + value)
        case tuple():
            return Raw(b'(' + b''.join(map(asm, value)) + b't')
        case list():
            return Raw(b'](' + b''.join(map(asm, value)) + b'e')
        case dict():
            return Raw(b'}(' + b''.join(asm(k) + asm(v) for k, v in value.items()) + b'u')


def name(module: str, attribute: str) -> Raw:
    """What the reader is asked to import."""
    return Raw(f'c{module}\n{attribute}\n'.encode())


def call(function: Raw, *args) -> Raw:
    return Raw(function + asm(args) + b'R')


def build(value: Raw, state: Any) -> Raw:
    return Raw(value + asm(state) + b'b')


def program(value: Any) -> bytes:
    return b'\x80\x02' + asm(value) + b'.'


NDARRAY, DTYPE = name('numpy', 'ndarray'), name('numpy', 'dtype')
EMPTY = call(name('numpy._core.multiarray', '_reconstruct'), NDARRAY, (0,), b'b')
POINTER = struct.pack('<Q', 0xDEADBEEF)


def dtype(code: Any, *state) -> Raw:
    made = call(DTYPE, code, False, True)
    return build(made, (3, *state)) if state else made


def array(shape: Any, kind: Raw, raw: bytes) -> Raw:
    return build(EMPTY, (1, shape, kind, False, raw))


FLOAT = dtype('f4', '<', None, None, None, -1, -1, 0)
OBJECT = dtype('O8', '|', None, None, None, -1, -1, 63)
UNFLAGGED = dtype('O8', '|', None, None, None, -1, -1, 0)
FIELDS = dtype('V8', '|', None, ('a',), {'a': (OBJECT, 0)}, 8, 1, 27)
LAUGHS = [b'q%c0](' % i + b'h%c' % i * 10 + b'e' for i in range(9)]

# what one value in a file may try; each must be refused, by every reader of pickles, and what would
# be an array before numpy sees it
ARRAYS = {
    'object array over bytes': call(NDARRAY, (1,), OBJECT, POINTER),
    'object array': array((1,), OBJECT, POINTER),
    'object scalar': call(name('numpy._core.multiarray', 'scalar'), OBJECT, POINTER),
    'object dtype without its flag': array((1,), UNFLAGGED, POINTER),
    'structured with objects': array((1,), FIELDS, POINTER),
    'array larger than its bytes': array((1 << 40,), FLOAT, b'1234'),
    'shape overflow': array((1 << 61, 1 << 61), FLOAT, b''),
}
VALUES = ARRAYS | {
    'state for a constructor': build(DTYPE, {'_make': 1}),
    'eval': call(name('builtins', 'eval'), '1'),
    'memo bomb': Raw(b']r\xff\xff\xff\x7f'),
    'long bytes': Raw(b'\x8e' + struct.pack('<Q', 1 << 62)),
    'a function as a value': DTYPE,
    'a persistent id': Raw(asm('x') + b'Q'),
    'nested lists': Raw(b']' * 20_000 + b'a' * 19_999),
    'a list in itself': Raw(b']q\x00h\x00a'),
    'billion laughs': Raw(asm([0] * 10) + b''.join(LAUGHS)),
}


def torch_zip(value: Any, record: bytes = b'') -> bytes:
    """A file as `torch.save` would write it, with one storage."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as archive:
        archive.writestr('a/data.pkl', program(value))
        archive.writestr('a/version', '3\n')
        archive.writestr('a/data/0', record)
    return buffer.getvalue()


def torch_legacy(value: Any, keys: list[str] = (), memory: bytes = b'') -> bytes:
    """A file as torch wrote it before 1.6."""
    magic = 0x1950A86A20F9469CFC6C.to_bytes(11, 'little', signed=True)
    system = {'protocol_version': 1001, 'little_endian': True, 'type_sizes': {}}
    start = b'\x80\x02\x8a\x0b' + magic + b'.' + program(1001) + program(system)
    return start + program(value) + program(list(keys)) + memory


def storage(key: str, count: int, kind: str = 'FloatStorage', *view: None) -> Raw:
    """The persistent id of a storage; files of before 1.6 have a `view` of None, too."""
    return Raw(asm(('storage', name('torch', kind), key, 'cpu', count, *view)) + b'Q')


def tensor(store: Any, offset: int, shape: Any, stride: Any) -> Raw:
    rebuild = name('torch._utils', '_rebuild_tensor_v2')
    return call(rebuild, store, offset, shape, stride, False, {})


FOUR, DOUBLE = storage('0', 4), storage('0', 2, 'DoubleStorage')
# tensors over one record of 4 numbers
TENSORS = {
    'beyond the end': tensor(FOUR, 0, (5,), (1,)),
    'far stride': tensor(FOUR, 0, (2,), (1 << 40,)),
    'negative offset': tensor(FOUR, -4, (2,), (1,)),
    'huge from one number': tensor(FOUR, 0, (1 << 40,), (0,)),
    'more than the record': tensor(storage('0', 1 << 30), 0, (4,), (1,)),
    'no such record': tensor(storage('7', 4), 0, (4,), (1,)),
    'two dtypes of one record': asm([tensor(FOUR, 0, (4,), (1,)), DOUBLE]),
    'sizes that are no numbers': tensor(FOUR, 0, ('4',), (1,)),
    'sparse': call(name('torch._utils', '_rebuild_sparse_tensor'), 1, (1, 2)),
}
