"""Photos, file by file: what is decoded, what is refused, and what the system may do."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from alexnet.data import (
    PhotoSet,
    UnreadableImageError,
    open_image_folder,
    read_image,
)
from alexnet.data import photos as photos_module
from alexnet.data.photos import LARGEST_IMAGE, ORIENTATION_TAG
from support import photo_files as files
from support.photo_files import encoded

# --- one file -------------------------------------------------------------------------------------

COLOURS = np.array([[[200, 30, 60], [10, 220, 90]], [[5, 40, 250], [128, 128, 128]]], np.uint8)
LARGE = np.kron(COLOURS, np.ones((16, 16, 1), np.uint8))


def saved(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize("extension", ["png", "bmp", "tiff", "ppm"])
def test_rgb_comes_as_it_is(extension: str, tmp_path: Path) -> None:
    pixels = read_image(saved(Image.fromarray(LARGE), tmp_path / f"photo.{extension}"))
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, LARGE)


@pytest.mark.parametrize(("mode", "extension"), [("RGB", "jpg"), ("CMYK", "jpg"), ("CMYK", "tiff")])
def test_other_colour_spaces_come_as_rgb(mode: str, extension: str, tmp_path: Path) -> None:
    image = Image.fromarray(LARGE).convert(mode)
    options = {"quality": 95, "subsampling": 0} if extension == "jpg" else {}
    pixels = read_image(saved(image, tmp_path / f"photo.{extension}", **options))
    assert pixels.shape == LARGE.shape
    np.testing.assert_allclose(pixels[8::16, 8::16].astype(int), COLOURS.astype(int), atol=6)


@pytest.mark.parametrize("mode", ["L", "1"])
def test_greyscale_has_three_equal_channels(mode: str, tmp_path: Path) -> None:
    grey = Image.fromarray(LARGE).convert(mode)
    pixels = read_image(saved(grey, tmp_path / "photo.png"))
    expected = np.asarray(grey).astype(np.uint8) * (255 if mode == "1" else 1)
    np.testing.assert_array_equal(pixels, np.repeat(expected[:, :, None], 3, axis=2))


@pytest.mark.parametrize("extension", ["png", "tiff"])
def test_greyscale_of_16_bits_keeps_the_high_byte(extension: str, tmp_path: Path) -> None:
    values = np.array([[0, 255, 256], [0x1234, 0x8000, 0xFFFF]], np.uint16)
    path = saved(Image.fromarray(values), tmp_path / f"photo.{extension}")
    assert read_image(path)[:, :, 1].tolist() == [[0, 0, 1], [0x12, 0x80, 0xFF]]


def test_a_palette_gives_its_colours(tmp_path: Path) -> None:
    image = Image.fromarray(LARGE).quantize(4)
    np.testing.assert_array_equal(read_image(saved(image, tmp_path / "photo.png")), LARGE)
    np.testing.assert_array_equal(read_image(saved(image, tmp_path / "photo.gif")), LARGE)


@pytest.mark.parametrize("transparency", [0, bytes([0, 255, 128, 255])])
def test_the_transparent_part_of_a_palette_is_white(
    transparency: int | bytes, tmp_path: Path
) -> None:
    image = Image.new("P", (4, 1))
    image.putpalette([10, 20, 30, 40, 50, 60, 0, 0, 0, 7, 8, 9])
    image.putdata([0, 1, 2, 3])
    pixels = read_image(saved(image, tmp_path / "photo.png", transparency=transparency))[0]
    middle = [127, 127, 127] if isinstance(transparency, bytes) else [0, 0, 0]
    np.testing.assert_allclose(
        pixels.astype(int), [[255] * 3, [40, 50, 60], middle, [7, 8, 9]], atol=1
    )


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_is_white(mode: str, tmp_path: Path) -> None:
    image = Image.new(mode, (2, 1), (0, 0, 0, 255) if mode == "RGBA" else (0, 255))
    image.putpixel((1, 0), (9, 9, 9, 0) if mode == "RGBA" else (9, 0))
    assert read_image(saved(image, tmp_path / "photo.png")).tolist() == [[[0] * 3, [255] * 3]]


@pytest.mark.parametrize("extension", ["png", "jpg", "tiff", "webp", "avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_upright(orientation: int, extension: str, tmp_path: Path) -> None:
    stored = {  # how a camera held in that way stores the upright pixels
        1: lambda p: p,
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.transpose(1, 0, 2),
        6: lambda p: np.rot90(p),
        7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
        8: lambda p: np.rot90(p, -1),
    }
    upright = LARGE[:, :24]
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    image = Image.fromarray(np.ascontiguousarray(stored[orientation](upright)))
    lossy = {
        "jpg": {"quality": 95, "subsampling": 0},
        "avif": {"quality": 95, "subsampling": "4:4:4"},
    }
    options = {"webp": {"lossless": True}, **lossy}.get(extension, {})
    path = saved(image, tmp_path / f"photo.{extension}", exif=exif, **options)
    for side in (None, 24):
        pixels = read_image(path, side).astype(int)
        np.testing.assert_allclose(pixels, upright, atol=12 if extension in lossy else 0)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_data_do_no_harm(tmp_path: Path) -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03"
    path = saved(Image.fromarray(LARGE), tmp_path / "photo.jpg", exif=exif)
    assert read_image(path).shape == LARGE.shape


@pytest.mark.parametrize("extension", ["png", "jpg"])
@pytest.mark.parametrize(
    ("height", "width", "side", "expected"),
    [
        (40, 60, 20, (20, 30)),
        (61, 40, 20, (30, 20)),
        (400, 600, 20, (20, 30)),  # a JPEG is decoded at an eighth
        (40, 40, 64, (64, 64)),
        (1, 5, 3, (3, 15)),
    ],
)
def test_the_shortest_side_is_as_asked(
    height: int, width: int, side: int, expected: tuple[int, int], extension: str, tmp_path: Path
) -> None:
    path = files.write_photo(tmp_path / f"photo.{extension}", 1, height, width)
    assert read_image(path, side).shape == (*expected, 3)


@pytest.mark.parametrize("side", ["x", 0, -1, 1.5, True, 2**13 + 1])
def test_a_shortest_side_that_is_none_is_no_fault_of_the_file(side: Any, tmp_path: Path) -> None:
    path = saved(Image.new("RGB", (9, 7)), tmp_path / "photo.png")
    with pytest.raises((TypeError, ValueError), match=r"^read_image: shortest_side is") as raised:
        read_image(path, side)
    assert not isinstance(raised.value, UnreadableImageError)


def test_a_jpeg_decoded_at_a_fraction_looks_the_same(tmp_path: Path) -> None:
    image = Image.fromarray(files.noise(1, 16, 24)).resize((768, 512), Image.Resampling.BICUBIC)
    path = saved(image, tmp_path / "photo.jpg", quality=95)
    whole = Image.fromarray(read_image(path)).resize((96, 64), Image.Resampling.BILINEAR)
    difference = read_image(path, 64).astype(int) - np.asarray(whole)
    assert np.abs(difference).mean() < 2


def full_and_reduced(
    image: Image.Image, side: int, path: Path, **options: object
) -> tuple[np.ndarray, np.ndarray]:
    """A JPEG decoded in full and then resized, and as it is read."""
    saved(image, path, quality=95, **options)
    height, width = (round(size * side / min(image.size)) for size in image.size[::-1])
    whole = Image.fromarray(read_image(path)).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(whole).astype(int), read_image(path, side).astype(int)


@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("side", [30, 32, 64])
@pytest.mark.parametrize("size", [257, 259, 263, 256, 264, 512])
def test_the_border_of_a_jpeg_has_its_own_weight(
    size: int, side: int, subsampling: int, tmp_path: Path
) -> None:
    image = Image.new("RGB", (size, size), "red")
    image.paste("white", (1, 1, size - 1, size - 1))
    whole, pixels = full_and_reduced(image, side, tmp_path / "a.jpg", subsampling=subsampling)
    assert np.abs(pixels - whole).max() <= (30 if size % 8 == 0 else 0)


@pytest.mark.parametrize("size", [(384, 256), (385, 257), (776, 512), (767, 511), (264, 392)])
def test_a_smooth_jpeg_is_as_if_decoded_in_full(size: tuple[int, int], tmp_path: Path) -> None:
    image = Image.fromarray(files.noise(1, 64, 96)[::8, ::8]).resize(size, Image.Resampling.BICUBIC)
    for side in (30, 64):
        whole, pixels = full_and_reduced(image, side, tmp_path / "a.jpg")
        assert np.abs(pixels - whole).max() <= 8


def png(width: int, height: int) -> bytes:
    """A PNG that is valid but for its pixels, of which there are none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no image: empty"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC: convert it to JPEG or PNG"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC: convert it to JPEG or PNG"),
        (b"These are the cats of 2012.", "no image"),
        (POSTSCRIPT, "no image"),
        (png(8, 8), "photo.jpg: "),
        (png(9000, 9000), "9000 x 9000 pixels, expected at most 67,108,864"),
        (png(30000, 30000), "decompression bomb"),
    ],
)
def test_what_is_no_image_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(UnreadableImageError, match=message):
        read_image(path)


def test_a_strip_that_grows_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    path = saved(Image.new("L", (30000, 1)), tmp_path / "photo.png")
    assert LARGEST_IMAGE < 30000 * 256 * 256
    with pytest.raises(UnreadableImageError, match="7680000 x 256 pixels, expected at most"):
        read_image(path, 256)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "AVIF"])
@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1)])
def test_the_smallest_images(kind: str, size: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "photo"
    path.write_bytes(encoded(Image.new("RGB", size, "white"), kind))
    assert read_image(path).shape == (size[1], size[0], 3)
    pixels = read_image(path, 4)
    assert min(pixels.shape[:2]) == 4
    assert pixels.min() > 250


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF", "TIFF"])
def test_of_several_frames_it_is_the_first(kind: str, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    path = tmp_path / "photo"
    path.write_bytes(encoded(frames[0], kind, save_all=True, append_images=frames[1:]))
    pixels = read_image(path).reshape(-1, 3).astype(int)
    np.testing.assert_allclose(pixels, np.tile([255, 0, 0], (256, 1)), atol=8)


@pytest.mark.parametrize("extension", ["jpg", "png", "gif", "bmp", "webp", "tiff", "ppm"])
def test_files_cut_short_anywhere_are_refused(extension: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    path = saved(Image.fromarray(pixels), tmp_path / f"photo.{extension}")
    content = path.read_bytes()
    for length in np.linspace(0, 0.9 * len(content), 40, dtype=int).tolist():
        path.write_bytes(content[:length])
        with pytest.raises(UnreadableImageError, match=path.name):
            read_image(path)


@pytest.mark.filterwarnings("ignore")  # Pillow's, of metadata that make no sense
@pytest.mark.parametrize("extension", ["jpg", "png", "gif", "webp", "tiff"])
def test_damaged_bytes_give_pixels_or_the_one_error(extension: str, tmp_path: Path) -> None:
    path = saved(Image.fromarray(files.noise(0, 24, 32)), tmp_path / f"photo.{extension}")
    content = np.fromfile(path, np.uint8)
    generator = np.random.default_rng(5)
    refused = 0
    for _ in range(150):
        damaged = content.copy()
        places = generator.integers(0, content.size, 3)
        damaged[places] = generator.integers(0, 256, 3)
        damaged.tofile(path)
        try:
            assert read_image(path, 16).dtype == np.uint8
        except UnreadableImageError:
            refused += 1
    assert refused > 5


def test_a_missing_file_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"photo\.jpg"):
        read_image(tmp_path / "photo.jpg")


# --- the system -----------------------------------------------------------------------------------


def test_a_lack_of_file_descriptors_is_no_fault_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = files.write_photo(tmp_path / "0.jpg")
    expected = read_image(path, 20)
    photos = PhotoSet([path], np.zeros(1, np.int64))
    monkeypatch.setattr("alexnet.data.patience.PAUSES", (0.01, 0.01))
    with (
        files.no_file_descriptors(),
        pytest.raises(OSError, match=r"Too many open files: .*0\.jpg"),
    ):
        photos.read(0, 20)
    np.testing.assert_array_equal(photos.read(0, 20), expected)
    assert not photos.skipped


def test_a_moment_without_file_descriptors_is_waited_for(tmp_path: Path) -> None:
    root = files.write_folder(tmp_path, 2, None)
    train = open_image_folder(root).train
    with files.no_file_descriptors(0.3):
        images = [train.read(position, 20) for position in range(4)]
    assert [image.tobytes() for image in images] == [
        train.read(position, 20).tobytes() for position in range(4)
    ]
    assert not train.skipped


@pytest.mark.parametrize(
    "code", ["EMFILE", "ENFILE", "ENOMEM", "EIO", "ESTALE", "EACCES", "ENOENT"]
)
def test_faults_of_the_system_are_raised_and_not_remembered(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = files.write_photo(tmp_path / "0.png")
    photos = PhotoSet([path], np.zeros(1, np.int64))
    number = getattr(errno, code)

    def fail(path: Path) -> bytes:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr("alexnet.data.patience.PAUSES", (0.0, 0.0))
    with monkeypatch.context() as broken:
        broken.setattr(photos_module, "_content", fail)
        with pytest.raises(OSError, match=r"0\.png") as raised:
            photos.read(0, 8)
        assert raised.value.errno == number
    assert photos.read(0, 8).shape == (8, 10, 3)
    assert not photos.skipped


@pytest.mark.parametrize("said", [MemoryError(), OSError("broken data stream")])
def test_a_lack_of_memory_is_no_fault_of_the_file(
    said: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoders raise the one or the other."""
    path = files.write_photo(tmp_path / "0.png")
    photos = PhotoSet([path], np.zeros(1, np.int64))

    def fail(*_: object) -> None:
        raise said

    def none_left(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("alexnet.data.patience.PAUSES", (0.0, 0.0))
    with monkeypatch.context() as short:
        short.setattr(photos_module, "_pixels", fail)
        short.setattr(photos_module.np, "empty", none_left)
        with pytest.raises(MemoryError, match=r"0\.png: out of memory"):
            photos.read(0, 8)
    assert photos.read(0, 8).shape == (8, 10, 3)
    assert not photos.skipped


def test_what_a_decoder_fails_at_once_only_is_no_fault_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = files.write_photo(tmp_path / "0.png")
    expected = read_image(path, 8)
    decode, tries = photos_module._pixels, iter([OSError("broken data stream")])

    def fail_once(*arguments: object) -> np.ndarray:
        for error in tries:
            raise error
        return decode(*arguments)

    monkeypatch.setattr(photos_module, "_pixels", fail_once)
    np.testing.assert_array_equal(read_image(path, 8), expected)


READ_WITHOUT_DESCRIPTORS = """
import sys
from pathlib import Path
from typing import Any
from support import photo_files
from alexnet.data import photos
contents = [Path(name).read_bytes() for name in sys.argv[1:]]
with photo_files.no_file_descriptors():
    print([photos._decoded(content, 8).shape for content in contents])
"""


def test_decoding_opens_no_files(tmp_path: Path) -> None:
    """Not even Pillow's modules for a format, which it imports when it meets the first file."""
    names = [
        f"{k}.{extension}" for k, extension in enumerate(("png", "webp", "avif", "tif", "jp2"))
    ]
    paths = [str(files.write_photo(tmp_path / name)) for name in names]
    result = subprocess.run(
        [sys.executable, "-c", READ_WITHOUT_DESCRIPTORS, *paths],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout == f"{[(8, 10, 3)] * 5}\n", result.stderr
