"""The memory of decoding: as much as is stated, shared by all threads, and an error where there is less.

``python tests/faults/test_decoding_memory.py 64`` prints the table of all formats for 64 million pixels, and
of some if they are named after that; also for an older featx on the path.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="measures by Linux's /proc"),
]

MIB = 2**20


def pictures(side: int, names: Sequence[str] = ()) -> Iterator[tuple[str, bytes]]:
    """A file of each format, depth and mode, of about `side` x `side` pixels; or of those that are named."""
    rng = np.random.default_rng(0)
    times = max(1, side // 64)
    rgb = Image.fromarray(np.tile(rng.integers(0, 256, (64, 64, 3), np.uint8), (times, times, 1)))
    grey, cmyk = rgb.getchannel(0), rgb.convert("CMYK")
    sixteen = Image.fromarray(np.tile(rng.integers(0, 65536, (64, 64), np.uint16), (times, times)))
    rgba = rgb.copy()
    rgba.putalpha(grey)
    turned = Image.Exif()
    turned[0x0112] = 6
    entries = bytes(range(256))
    whole = {278: 64 * times}
    for name, image, format, options in (
        ("JPEG", rgb, "JPEG", {}),
        ("JPEG turned", rgb, "JPEG", {"exif": turned}),
        ("JPEG progressive 4:4:4", rgb, "JPEG", {"progressive": True, "subsampling": 0}),
        ("JPEG CMYK", cmyk, "JPEG", {}),
        ("JPEG CMYK progressive", cmyk, "JPEG", {"progressive": True}),
        ("PNG", rgb, "PNG", {"compress_level": 1}),
        ("PNG 1 bit", grey.convert("1"), "PNG", {"compress_level": 1}),
        ("PNG 16 bit", sixteen, "PNG", {"compress_level": 1}),
        ("PNG alpha", rgba, "PNG", {"compress_level": 1}),
        ("PNG grey alpha", rgba.convert("LA"), "PNG", {"compress_level": 1}),
        ("PNG palette alpha", grey.convert("P"), "PNG", {"compress_level": 1, "transparency": entries}),
        ("PNG turned", rgb, "PNG", {"compress_level": 1, "exif": turned}),
        ("WebP", rgb, "WEBP", {"method": 0}),
        ("WebP lossless", rgb, "WEBP", {"lossless": True, "method": 0, "quality": 0}),
        ("WebP alpha", rgba, "WEBP", {"method": 0}),
        ("GIF", grey.convert("P"), "GIF", {}),
        ("BMP", rgb, "BMP", {}),
        ("TIFF", rgb, "TIFF", {}),
        ("TIFF 16 bit", sixteen, "TIFF", {}),
        ("TIFF LZW", rgb, "TIFF", {"compression": "tiff_lzw"}),
        ("TIFF LZW 16 bit", sixteen, "TIFF", {"compression": "tiff_lzw"}),
        ("TIFF LZW alpha", rgba, "TIFF", {"compression": "tiff_lzw"}),
        ("TIFF LZW CMYK", cmyk, "TIFF", {"compression": "tiff_lzw"}),
        ("TIFF LZW one strip", rgb, "TIFF", {"compression": "tiff_lzw", "tiffinfo": whole}),
        ("TIFF JPEG", rgb, "TIFF", {"compression": "jpeg"}),
        ("AVIF alpha", rgba, "AVIF", {"speed": 10, "quality": 30}),
        ("JPEG 2000 alpha", rgba, "JPEG2000", {}),
    ):
        if not names or name in names:
            file = io.BytesIO()
            image.save(file, format, **options)
            yield name, file.getvalue()


#: Of children: what they have, what they had at most, and a mark from which that is counted.
MEASURE = """
import gc, json, sys
from pathlib import Path
def state():
    lines = (line.split(":") for line in open("/proc/self/status") if line.startswith("Vm"))
    return {name: int(value.split()[0]) * 1024 for name, value in lines}
def mark():
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return state()["VmHWM"]
"""

PEAKS = """
from featx.inputs.image import decode_pixels
held = []
try:
    from featx.inputs.image.budget import Hold
    Hold.need, need = lambda self, n: (held.append(n), need(self, n)), Hold.need
except ImportError:
    pass
for file in sys.argv[2:]:
    decode_pixels(Path(sys.argv[1], Path(file).name).read_bytes(), "small", name="")
    data = Path(file).read_bytes()
    held.clear()
    before = mark()
    pixels = decode_pixels(data, "large", name="")[0]
    peak = state()["VmHWM"] - before
    print(json.dumps([Path(file).name, pixels.shape[0] * pixels.shape[1], peak, max(held, default=0)]))
    del pixels
"""


def child(code: str, *arguments: object, timeout: float = 600) -> list:
    """Lines of JSON that a child writes; it must not crash and say nothing on stderr."""
    command = [sys.executable, "-c", textwrap.dedent(MEASURE + code), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    return [json.loads(line) for line in done.stdout.splitlines()]


def write(folder: Path, side: int, names: Sequence[str] = ()) -> list[Path]:
    folder.mkdir()
    paths = []
    for name, data in pictures(side, names):
        paths.append(folder / name)
        paths[-1].write_bytes(data)
    return paths


def measured(root: Path, side: int, names: Sequence[str] = ()) -> list:
    write(root / "small", 64)
    return child(PEAKS, root / "small", *write(root / "large", side, names))


def test_decoding_takes_no_more_than_its_header_tells(tmp_path, thorough, counted):
    for name, pixels, peak, stated in measured(tmp_path, 8000 if thorough else 2048):
        counted(**{f"{name}, bytes a pixel".replace(" ", "_"): round(peak / pixels, 1)})
        assert 0 < peak <= stated, (name, peak, stated)
        # All of it in units of the result, 3 bytes a pixel, is at most a little over five; of OpenJPEG, ten.
        assert stated <= (33 if name.startswith("JPEG 2000") else 17) * pixels + 60 * MIB, (name, stated)


LIMITED = """
import ctypes, resource
from featx.errors import ImageError
from featx.inputs.image import Preprocessing, decode_pixels, decode
from featx.inputs.image.source import EncodedImage
prepare = Preprocessing()
def whole(data):
    return prepare.prepare(EncodedImage("a", data).read())
for file in sys.argv[3:]:
    whole(Path(sys.argv[1], Path(file).name).read_bytes())
gc.collect()
gc.freeze()  # the objects of torch, through which each collection would look
for file in sys.argv[3:]:
    data = Path(file).read_bytes()
    decoded = refused = 0
    for room in json.loads(sys.argv[2]):
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what the last picture left is no room for the next
        resource.setrlimit(resource.RLIMIT_AS, (state()["VmSize"] + room * 2**20, resource.RLIM_INFINITY))
        try:
            decoders = (whole, lambda data: decode_pixels(data, "a"), lambda data: decode(data, "a"))
            decoders[room % 3](data)
            decoded += 1
        except ImageError as error:
            refused += 1
            text = str(error)
            assert "memory" in text and "\\n" not in text, text
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(json.dumps([Path(file).name, decoded, refused]))
"""


def test_where_there_is_less_memory_every_format_gives_an_image_error(tmp_path, thorough, counted):
    write(tmp_path / "small", 64)
    side, rooms = (3200, list(range(0, 240, 5))) if thorough else (1200, [1, 5, 60])
    found = child(LIMITED, tmp_path / "small", rooms, *write(tmp_path / "large", side))
    counted(decoded=sum(d for _, d, _ in found), refused=sum(r for _, _, r in found), other=0)
    assert all(decoded > 0 for _, decoded, _ in found), found
    # Of one or the other the process may have had enough left over from before.
    assert sum(refused > 0 for _, _, refused in found) > 0.8 * len(found), found


TOGETHER = """
import threading
from featx.inputs.image.budget import DECODING
from featx.inputs.image.decode import decoding
DECODING._size = int(sys.argv[2]) * 2**20
data = Path(sys.argv[1]).read_bytes()
with decoding(data, "warm"):
    pass
before = mark()
failed, start = [], threading.Barrier(8)
def work():
    try:
        start.wait()
        for _ in range(2):
            with decoding(data, "a") as (pixels, _):
                int(pixels[::64].sum())
                del pixels
    except BaseException as error:
        failed.append(repr(error))
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps([(state()["VmHWM"] - before) / 2**20, failed, DECODING.used]))
"""


def test_eight_threads_together_stay_within_the_budget(tmp_path, thorough, counted):
    side, budget = (8000, 2048) if thorough else (1984, 132)
    for name, data in pictures(side, ["PNG alpha", "WebP", "JPEG progressive 4:4:4"]):
        (tmp_path / "a").write_bytes(data)
        ((peak, failed, used),) = child(TOGETHER, tmp_path / "a", budget)
        assert not failed
        assert used == 0
        counted(**{f"{name} MiB of {budget}".replace(" ", "_"): round(peak)})
        assert peak <= budget + 8 * 8, name  # and what is not counted, in eight threads


PIPELINE = """
import resource
import numpy as np
from featx.extraction import pixel_embedder, pipeline
from featx.inputs.image import FileImage
pipeline._INPUTS_FOR_PROCESSES, pipeline._CORES_FOR_PROCESSES = 1, 2
class Engine:
    name, device, precision, version, batch_size = "fake", "cpu", "fp32", "1", 4
    def __init__(self, workers): self.workers = workers
    def enter(self): pass
    def leave(self): pass
    def __call__(self, batch): return batch.reshape(len(batch), -1).astype(np.float32) / 255
    def submit(self, parts):
        rows = self(np.concatenate(parts))
        return lambda: rows
class Claims:
    def take(self, digests): return [True] * len(digests)
    def drop(self, digests): pass
    def hurry(self): pass
class Store:
    claims = Claims()
    def held(self, digests): return set()
    def refresh(self): pass
class Limited(FileImage):
    def read(self):
        if not hasattr(sys, "limited"):
            import torch  # noqa: F401  which resizing needs
            sys.limited = True
            most = state()["VmSize"] + 300 * 2**20
            resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
        return FileImage.read(self)
def main():
    images = [Limited(Path(file).name, file) for file in sys.argv[2:]]
    workers = int(sys.argv[1])
    run = pipeline.Pipeline(images, pixel_embedder(4).preparation, [Engine(workers)], [Store()], 2)
    for unit in run.run(range(len(images))):
        for item in unit.items:
            print(json.dumps([item.position, None if item.error is None else str(item.error)]))
if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize("workers", [3, 0])  # threads, and worker processes
def test_threads_and_processes_of_a_run_refuse_what_finds_no_memory(tmp_path, workers, thorough):
    side = 9_000  # needs 600 MB, and there are 300 more
    file = io.BytesIO()
    Image.new("RGBA", (side, side), (1, 2, 3, 4)).save(file, "PNG", compress_level=1)
    paths = []
    for i in range(8):
        paths.append(tmp_path / f"{i}.png")
        if i % 2:
            Image.new("RGB", (300, 300), (i, 9, 9)).save(paths[-1])
        else:
            paths[-1].write_bytes(file.getvalue())
    found = sorted(child(PIPELINE, workers, *paths))
    assert [position for position, _ in found] == list(range(8))
    assert all((error is None) == bool(position % 2) for position, error in found)
    assert all("memory" in error for position, error in found if position % 2 == 0)


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        millions = float(sys.argv[1]) if len(sys.argv) > 1 else 4
        for name, pixels, peak, stated in measured(Path(folder), int((millions * 1e6) ** 0.5), sys.argv[2:]):
            used = f"{peak / pixels:6.1f} bytes a pixel {peak / 1e6:8.0f} MB"
            print(f"{name:24} {used}, stated {stated / 1e6:8.0f} MB")
