"""Files that try to make a reader do something: written by code, so that none is in the repository.

An assembler for pickles, since `pickle.dumps` writes honest ones only.
"""

import io
import struct
import zipfile
from typing import Any

EMPTY_TUPLE, MARK, TUPLE, REDUCE, BUILD, STOP = b')', b'(', b't', b'R', b'b', b'.'


class Global(bytes):
    """A name that the reader is asked to import."""

    def __new__(cls, module: str, name: str) -> 'Global':
        return super().__new__(cls, f'c{module}\n{name}\n'.encode())


class Raw(bytes):
    """Opcodes that leave one value on the stack."""


def asm(value: Any) -> bytes:
    """Opcodes that leave `value` on the stack."""
    if isinstance(value, Global | Raw):
        return bytes(value)
    if value is None or isinstance(value, bool):
        return {None: b'N', True: b'\x88', False: b'\x89'}[value]
    if isinstance(value, int):
        size = value.to_bytes(9, 'little', signed=True)
        return b'\x8a\x09' + size
    if isinstance(value, str):
        data = value.encode()
        return b'X' + struct.pack('<I', len(data)) + data
    if isinstance(value, bytes):
        return b'B' + struct.pack('<I', len(value)) + value
    if isinstance(value, tuple):
        return MARK + b''.join(map(asm, value)) + TUPLE
    if isinstance(value, list):
        return b']' + MARK + b''.join(map(asm, value)) + b'e'
    if isinstance(value, dict):
        return b'}' + MARK + b''.join(asm(k) + asm(v) for k, v in value.items()) + b'u'
    raise TypeError(type(value))


def call(function: bytes, *args) -> Raw:
    return Raw(asm(function) + asm(args) + REDUCE)


def build(value: Any, state: Any) -> Raw:
    return Raw(asm(value) + asm(state) + BUILD)


def program(value: Any) -> bytes:
    return b'\x80\x02' + asm(value) + STOP


NDARRAY, DTYPE = Global('numpy', 'ndarray'), Global('numpy', 'dtype')
RECONSTRUCT = Global('numpy._core.multiarray', '_reconstruct')
SCALAR = Global('numpy._core.multiarray', 'scalar')
TENSOR = Global('torch._utils', '_rebuild_tensor_v2')
POINTER = struct.pack('<Q', 0xDEADBEEF)


def dtype(code: Any, *state) -> Raw:
    made = call(DTYPE, code, False, True)
    return build(made, state) if state else made


def array(shape: Any, kind: Any, raw: Any) -> Raw:
    return build(call(RECONSTRUCT, NDARRAY, (0,), b'b'), (1, shape, kind, False, raw))


FLOAT = dtype('f4', 3, '<', None, None, None, -1, -1, 0)
OBJECT = dtype('O8', 3, '|', None, None, None, -1, -1, 63)

# what one value in a file may try; each must be refused, by every reader of pickles
VALUES = {
    'object array over bytes': call(NDARRAY, (1,), OBJECT, POINTER),
    'object array state': array((1,), OBJECT, POINTER),
    'object scalar': call(SCALAR, OBJECT, POINTER),
    'object dtype without its flag': array(
        (1,), dtype('O8', 3, '|', None, None, None, -1, -1, 0), POINTER
    ),
    'structured with objects': array(
        (1,),
        dtype('V8', 3, '|', None, ('a',), {'a': (OBJECT, 0)}, 8, 1, 27),
        POINTER,
    ),
    'list of fields': array((1,), call(DTYPE, [('a', 'O')], False, True), POINTER),
    'array larger than its bytes': array((1 << 40,), FLOAT, b'1234'),
    'negative shape': array((-1, 5), FLOAT, bytes(20)),
    'shape overflow': array((1 << 61, 1 << 61), FLOAT, b''),
    'array state of the wrong kind': build(call(RECONSTRUCT, NDARRAY, (0,), b'b'), {'a': 1}),
    'state for a function': build(RECONSTRUCT, ({}, {'__call__': 1})),
    'state for a constructor': build(DTYPE, {'_make': 1}),
    'text array': array((1,), call(DTYPE, 'U2', False, True), bytes(8)),
    'eval': call(Global('builtins', 'eval'), '1'),
    'import': call(Global('builtins', '__import__'), 'os'),
    'numpy loader': call(Global('numpy.lib.npyio', 'load'), 'x'),
    'numpy exec': call(Global('numpy.testing._private.utils', 'runstring'), '1', {}),
    'codec': call(Global('_codecs', 'encode'), 'x', 'zlib'),
    'bytes of a size': call(Global('builtins', 'bytes'), 1 << 40),
    'memo bomb': Raw(b']r\xff\xff\xff\x7f'),
    'long bytes': Raw(b'\x8e' + struct.pack('<Q', 1 << 62)),
    'a function as a value': DTYPE,
    'a persistent id': Raw(asm('x') + b'Q'),
    'an extension': Raw(b'\x82\x01'),
    'nested lists': Raw(b']' * 100_000 + b'a' * 99_999),
    'a list in itself': Raw(b']q\x00h\x00a'),
    'billion laughs': Raw(
        asm([0] * 10) + b''.join(b'q%c0]' % i + b'(' + b'h%c' % i * 10 + b'e' for i in range(9))
    ),
}


def torch_zip(value: Any, records: dict[str, bytes] | None = None, root: str = 'a') -> bytes:
    """A file as `torch.save` would write it; storage records by key."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as archive:
        archive.writestr(f'{root}/data.pkl', program(value))
        archive.writestr(f'{root}/version', '3\n')
        for key, data in (records or {}).items():
            archive.writestr(f'{root}/data/{key}', data)
    return buffer.getvalue()


def torch_legacy(value: Any, keys: list[str] = (), memory: bytes = b'') -> bytes:
    """A file as torch wrote it before 1.6."""
    magic = 0x1950A86A20F9469CFC6C.to_bytes(11, 'little', signed=True)
    system = {'protocol_version': 1001, 'little_endian': True, 'type_sizes': {}}
    start = b'\x80\x02\x8a\x0b' + magic + STOP + program(1001) + program(system)
    return start + program(value) + program(list(keys)) + memory


def storage(key: str, count: int, kind: str = 'FloatStorage', *view: None) -> Raw:
    """The persistent id of a storage; files of before 1.6 have a `view` of None, too."""
    return Raw(asm(('storage', Global('torch', kind), key, 'cpu', count, *view)) + b'Q')


def tensor(store: Any, offset: Any, shape: Any, stride: Any) -> Raw:
    return call(TENSOR, store, offset, shape, stride, False, {})


# tensors over one record of 4 numbers
TENSORS = {
    'beyond the end': tensor(storage('0', 4), 0, (5,), (1,)),
    'far stride': tensor(storage('0', 4), 0, (2,), (1 << 40,)),
    'negative offset': tensor(storage('0', 4), -4, (2,), (1,)),
    'negative stride': tensor(storage('0', 4), 3, (2,), (-1,)),
    'huge from one number': tensor(storage('0', 4), 0, (1 << 40,), (0,)),
    'more than the record': tensor(storage('0', 1 << 30), 0, (4,), (1,)),
    'overflowing size': tensor(storage('0', (1 << 62) + 1), 0, (4,), (1,)),
    'no such record': tensor(storage('7', 4), 0, (4,), (1,)),
    'a path as record': tensor(storage('../../etc/passwd', 4), 0, (4,), (1,)),
    'two dtypes of one record': Raw(
        asm([tensor(storage('0', 4), 0, (4,), (1,)), storage('0', 2, 'DoubleStorage')])
    ),
    'no storage': tensor(None, 0, (4,), (1,)),
    'sizes that are no numbers': tensor(storage('0', 4), 0, ('4',), (1,)),
    'sparse': call(Global('torch._utils', '_rebuild_sparse_tensor'), 1, (1, 2)),
    'nested': call(Global('torch._utils', '_rebuild_nested_tensor'), 1, 2, 3, 4),
    'quantized': call(Global('torch._utils', '_rebuild_qtensor'), 1, 2, 3, 4, 5, 6, 7),
    'from numpy': call(Global('torch._utils', '_rebuild_device_tensor_from_numpy'), 1, 2, 3, 4),
}
