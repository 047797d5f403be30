"""How arrays and pictures lie in the run store: compressed `.npy` without pickle, and pictures end to end."""

import io
import zlib
from collections.abc import Sequence

import numpy as np

from vislib.errors import StoreError


def pack(array: np.ndarray) -> bytes:
    """Compress an array, losing nothing."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    # floats of an image hardly repeat: searching for repetitions takes three times as long and saves nothing
    packer = zlib.compressobj(1, zlib.DEFLATED, strategy=zlib.Z_RLE)
    return packer.compress(buffer.getbuffer()) + packer.flush()


def unpack(data: bytes) -> np.ndarray:
    """Read back what `pack` made; raises StoreError for anything else."""
    try:
        array: np.ndarray = np.load(io.BytesIO(zlib.decompress(data)), allow_pickle=False)
    except (ValueError, EOFError, zlib.error) as error:
        raise StoreError(
            f"A stored array of {len(data)} bytes is damaged ({error}): delete the run and make it again."
        ) from error
    return array


def join(pictures: Sequence[bytes]) -> bytes:
    """Lay pictures end to end, after their number and lengths (4 bytes each, little-endian)."""
    head = np.array([len(pictures), *map(len, pictures)], "<u4")
    return b"".join([head.tobytes(), *pictures])


def split(data: bytes) -> tuple[bytes, ...]:
    """Read back what `join` made; raises StoreError for anything else."""
    count = int.from_bytes(data[:4], "little")
    lengths = np.frombuffer(data[4 : 4 + 4 * count], "u1").view("<u4") if len(data) >= 4 + 4 * count else None
    if lengths is None or 4 + 4 * count + int(lengths.sum()) != len(data):
        raise StoreError(
            f"Stored pictures of {len(data)} bytes are damaged: delete the run and make it again."
        )
    ends = 4 + 4 * count + np.cumsum(lengths, dtype=np.int64)
    return tuple(
        data[end - length : end] for end, length in zip(ends.tolist(), lengths.tolist(), strict=True)
    )
