"""Valid pictures of every format that is read, and seeded mutations of them.

``python tests/faults/mutations.py --count 50000`` decodes that many and prints what came of them, with
whatever featx is on the path, so that two versions can be compared on the same bytes.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import resource
import struct
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

# Pictures


def scene(width: int, height: int, seed: int = 0) -> Image.Image:
    """Soft shades, hard edges and some noise, as photographs have them."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 7, 3), np.uint8))
    pixels = np.array(coarse.resize((width, height))).astype(int)
    pixels += rng.normal(0, 6, (height, width, 1)).astype(int)
    pixels[height // 3 : height // 2, : width // 2] = (250, 10, 60)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def saved(image: Image.Image, format: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def netpbm(image: Image.Image, magic: str) -> bytes:
    """A binary or plain PPM or PGM of 8 bits, or a PGM of 16."""
    width, height = image.size
    values = np.asarray(image)
    if magic in ("P2", "P3"):
        body, top = " ".join(map(str, values.ravel())).encode(), 255
    elif magic == "P5, 16 bits":
        body, top = (values.astype(">u2") * 257).tobytes(), 65535
    else:
        body, top = values.tobytes(), 255
    return f"{magic[:2]}\n{width} {height}\n{top}\n".encode() + body


def pictures() -> dict[str, bytes]:
    """Small files of all formats, by a name that begins with the format."""
    photo = scene(150, 110)
    grey, palette = photo.convert("L"), photo.quantize(64)
    alpha = photo.convert("RGBA")
    alpha.putalpha(grey)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    second = scene(150, 110, seed=1)
    return {
        "JPEG": saved(photo, "JPEG", quality=90),
        "JPEG optimised": saved(photo, "JPEG", quality=75, optimize=True),
        "JPEG progressive": saved(photo, "JPEG", quality=85, progressive=True),
        "JPEG grey": saved(grey, "JPEG"),
        "JPEG CMYK": saved(photo.convert("CMYK"), "JPEG", quality=85),
        "JPEG restart": saved(photo, "JPEG", quality=85, restart_marker_blocks=5),
        "PNG": saved(photo, "PNG"),
        "PNG palette": saved(palette, "PNG"),
        "PNG 16": saved(deep, "PNG"),
        "PNG alpha": saved(alpha, "PNG"),
        "WebP": saved(photo, "WebP", quality=85),
        "WebP lossless": saved(photo, "WebP", lossless=True),
        "WebP alpha": saved(alpha, "WebP", quality=80),
        "WebP animated": saved(photo, "WebP", save_all=True, append_images=[second]),
        "GIF": saved(palette, "GIF"),
        "GIF animated": saved(palette, "GIF", save_all=True, append_images=[second.quantize(64)]),
        "TIFF": saved(photo, "TIFF"),
        "TIFF LZW": saved(photo, "TIFF", compression="tiff_lzw"),
        "TIFF deflate": saved(photo, "TIFF", compression="tiff_adobe_deflate"),
        "TIFF packbits": saved(photo, "TIFF", compression="packbits"),
        "TIFF JPEG": saved(photo, "TIFF", compression="jpeg"),
        "TIFF big": saved(photo, "TIFF", big_tiff=True),
        "TIFF 16": saved(deep, "TIFF"),
        "BMP": saved(photo, "BMP"),
        "BMP palette": saved(palette, "BMP"),
        "PNM P6": netpbm(photo, "P6"),
        "PNM P5": netpbm(grey, "P5"),
        "PNM P5 16": netpbm(grey, "P5, 16 bits"),
        "PNM P4": saved(grey.convert("1"), "PPM"),
        "PNM P3": netpbm(photo.resize((60, 40)), "P3"),
        "AVIF": saved(photo, "AVIF", quality=80),
        "AVIF alpha": saved(alpha, "AVIF", quality=60),
        "JP2": saved(photo, "JPEG2000"),
        "JP2 codestream": saved(grey, "JPEG2000", no_jp2=True),
    }


# Mutations

MAGICS = [
    b"\xff\xd8\xff\xe0", b"\xff\xd8\xff\xda\0\x08", b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    b"RIFF\xff\xff\0\0WEBPVP8 ", b"RIFF\xff\xff\0\0WEBPVP8L", b"RIFF\xff\xff\0\0WEBPVP8X\n\0\0\0", b"GIF89a",
    b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0",
    b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0", b"P6\n", b"P5 9 9 65535\n", b"P4\n9 ", b"P3\n3 3 255\n",
    b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf", b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51\0\x2f\0\0",
]  # fmt: skip

EXTREMES = [0, 1, 2, 0x7F, 0x80, 0xFF, 13_377, 0x7FFF, 0x8000, 0xFFFF, 100_000, 2**31 - 1, 2**31, 2**32 - 1]

END_MARKERS = {"JPEG": b"\xff\xd9", "PNG": b"\0\0\0\0IEND\xaeB`\x82", "GIF": b"\0;", "JP2": b"\xff\xd9"}


def flips(data: bytes, chance: random.Random, format: str) -> bytes:
    torn = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 8])):
        torn[chance.randrange(len(torn))] ^= 1 << chance.randrange(8)
    return bytes(torn)


def cut(data: bytes, chance: random.Random, format: str) -> bytes:
    return data[: chance.randrange(1, len(data))]


def cut_and_closed(data: bytes, chance: random.Random, format: str) -> bytes:
    """What a tool that "repairs" a file makes of one that was cut."""
    return data[: chance.randrange(len(data) // 8, len(data) - 2)] + END_MARKERS.get(format, b"\0")


def zero_tail(data: bytes, chance: random.Random, format: str) -> bytes:
    """A download that stopped in a file whose room was taken beforehand."""
    kept = chance.randrange(1, len(data))
    return data[:kept] + bytes(len(data) - kept)


def noise_tail(data: bytes, chance: random.Random, format: str) -> bytes:
    kept = chance.randrange(1, len(data))
    return data[:kept] + chance.randbytes(len(data) - kept)


def _block(data: bytes, chance: random.Random) -> tuple[int, int]:
    """Start and end of a sector or page, where a file holds one."""
    size = chance.choice([n for n in (512, 1024, 4096) if 2 * n <= len(data)] or [len(data) // 4])
    start = chance.randrange(len(data) // size) * size
    return start, min(start + size, len(data))


def zeroed_block(data: bytes, chance: random.Random, format: str) -> bytes:
    start, end = _block(data, chance)
    return data[:start] + bytes(end - start) + data[end:]


def noise_block(data: bytes, chance: random.Random, format: str) -> bytes:
    start, end = _block(data, chance)
    return data[:start] + chance.randbytes(end - start) + data[end:]


def foreign_block(data: bytes, chance: random.Random, format: str) -> bytes:
    """A block in the place of another of the same file."""
    start, end = _block(data, chance)
    other, _ = _block(data, chance)
    return data[:start] + data[other : other + end - start] + data[end:]


def swapped(data: bytes, chance: random.Random, format: str) -> bytes:
    """Two neighbouring stretches change places."""
    a, b, c = sorted(chance.randrange(len(data)) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def repeated(data: bytes, chance: random.Random, format: str) -> bytes:
    start = chance.randrange(len(data))
    piece = data[start : start + chance.choice([1, 4, 12, 64, 500])]
    return data[:start] + piece * chance.choice([2, 3, 50]) + data[start:]


def extreme_field(data: bytes, chance: random.Random, format: str) -> bytes:
    """A number of the header is as large or small as it can be; the checksum of a PNG's is made good."""
    torn = bytearray(data)
    for _ in range(chance.choice([1, 1, 2])):
        code = chance.choice("BHIQ")
        size = struct.calcsize(code)
        reach = len(data) if chance.random() < 0.3 or format == "TIFF" else 64
        # The directory of a TIFF lies at its end.
        low = max(0, len(data) - 260) if format == "TIFF" and chance.random() < 0.8 else 0
        at = chance.randrange(low, max(low + 1, min(reach, len(data)) - size))
        value = chance.choice(EXTREMES) & ((1 << 8 * size) - 1)
        torn[at : at + size] = struct.pack(chance.choice("<>") + code, value)
    if format == "PNG":
        torn[29:33] = struct.pack(">I", zlib.crc32(torn[12:29]))
    return bytes(torn)


def behind_magic(data: bytes, chance: random.Random, format: str) -> bytes:
    return chance.choice(MAGICS) + chance.randbytes(chance.choice([0, 4, 30, 300]))


MUTATIONS: list[Callable[[bytes, random.Random, str], bytes]] = [
    flips,
    cut,
    cut_and_closed,
    zero_tail,
    noise_tail,
    zeroed_block,
    noise_block,
    foreign_block,
    swapped,
    repeated,
    extreme_field,
    behind_magic,
]


def mutants(count: int, seed: int) -> Iterator[tuple[str, str, bytes, bytes]]:
    """(picture, mutation, its original bytes, its bytes), every picture with every mutation in turn."""
    chance = random.Random(seed)
    files = list(pictures().items())
    for i in range(count):
        name, data = files[i % len(files)]
        mutation = MUTATIONS[i // len(files) % len(MUTATIONS)]
        yield name, mutation.__name__, data, mutation(data, chance, name.split()[0])


# What comes of them


def decode_mutants(count: int, seed: int, by_picture: bool = False) -> dict:
    """Decode `count` mutants in this process.

    Returns
    -------
    dict
        ``table`` counts by format (or by picture) and mutation what was ``refused``, came out the ``same``
        or ``other`` than the original; ``raised`` lists whatever was no `ImageError`, ``slowest`` is in
        seconds, ``peak_mb`` the most memory that the process ever had.
    """
    from featx.errors import ImageError
    from featx.inputs.image import decode_pixels

    originals: dict[str, np.ndarray | None] = {}
    table: Counter = Counter()
    raised: list[str] = []
    slowest, slow_case = 0.0, ""
    for i, (name, mutation, original, data) in enumerate(mutants(count, seed)):
        if name not in originals:
            try:
                originals[name] = decode_pixels(original, name, name="")[0]
            except ImageError:
                originals[name] = None
        expected = originals[name]
        start = time.perf_counter()
        try:
            pixels, _ = decode_pixels(data, name, name="")
        except ImageError:
            outcome = "refused"
        except Exception as error:  # what the test is looking for
            outcome = "raised"
            raised.append(f"{i} {name}, {mutation}: {type(error).__name__}: {error}")
        else:
            same = expected is not None and np.array_equal(pixels, expected)
            outcome = "same" if same else "other"
        took = time.perf_counter() - start
        if took > slowest:
            slowest, slow_case = took, f"{i} {name}, {mutation}"
        table[name if by_picture else name.split()[0], mutation, outcome] += 1
    return {
        "table": [[*key, n] for key, n in sorted(table.items())],
        "raised": raised,
        "slowest": round(slowest, 2),
        "slow_case": slow_case,
        "peak_mb": peak_memory(),
    }


def peak_memory() -> int:
    """In MB. Linux counts what was before exec in `ru_maxrss`, too: there the kernel's own record is read."""
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most // (2**20 if sys.platform == "darwin" else 1024)


def in_words(told: dict) -> str:
    """The table of damage accepted: "other pictures of mutants", by format and mutation."""
    counts: Counter = Counter()
    for format, mutation, outcome, n in told["table"]:
        counts[format, mutation, outcome] += n
        counts[format, mutation, "all"] += n
        counts["any", mutation, outcome] += n
        counts["any", mutation, "all"] += n
    formats = [*sorted({f for f, *_ in told["table"]}), "any"]
    lines = [f"{'':16}" + "".join(f"{f:>12}" for f in formats)]
    for mutation in [m.__name__ for m in MUTATIONS]:
        cells = [f"{counts[f, mutation, 'other']}/{counts[f, mutation, 'all']}" for f in formats]
        lines.append(f"{mutation:16}" + "".join(f"{c:>12}" for c in cells))
    slowest = f"slowest {told['slowest']} s ({told['slow_case']})"
    lines.append(f"raised {len(told['raised'])}, {slowest}, peak {told['peak_mb']} MB")
    return "\n".join(lines + told["raised"][:10])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--count", type=int, default=5000)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--by-picture", action="store_true", help="rows for pictures, not for formats alone")
    options.add_argument("--json", action="store_true")
    given = options.parse_args()
    told = decode_mutants(given.count, given.seed, given.by_picture)
    print(json.dumps(told) if given.json else in_words(told))


if __name__ == "__main__":
    main()
