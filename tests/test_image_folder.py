"""Photos in files of every kind, and folders of them."""

from __future__ import annotations

import errno
import io
import logging
import os
import shutil
import struct
import subprocess
import sys
import unicodedata
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet.data import (
    PhotoSet,
    UnreadableImageError,
    open_dataset,
    open_image_folder,
    read_image,
)
from alexnet.data import photos as photos_module
from alexnet.data.photos import LARGEST_IMAGE, ORIENTATION_TAG
from support import cifar_files
from support import photo_files as files

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


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


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


# --- folders --------------------------------------------------------------------------------------


def names(photos: object) -> list[str]:
    assert isinstance(photos, PhotoSet)
    return ["/".join(path.parts[-2:]) for path in photos.paths]


@pytest.mark.parametrize("test", ["test", "val", None])
def test_classes_and_photos_in_the_order_of_their_names(test: str | None, tmp_path: Path) -> None:
    data = open_dataset(files.write_folder(tmp_path / "photos", 3, test))
    assert data.class_names == ("cat", "dog")
    expected = [f"{name}/{number}.jpg" for name in ("cat", "dog") for number in range(3)]
    assert names(data.train) == expected
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.train.labels.dtype == np.int64
    assert data.train.image_shape is None
    if test is None:
        assert data.test is None
    else:
        assert data.test is not None
        assert names(data.test) == expected
    image = data.train.read(4, 20)
    np.testing.assert_array_equal(image, read_image(tmp_path / "photos/train/dog/1.jpg", 20))


def test_test_comes_before_val(tmp_path: Path) -> None:
    root = files.write_folder(files.write_folder(tmp_path, 2, "test"), 3, "val")
    test = open_image_folder(root).test
    assert test is not None
    assert len(test) == 2 * len(files.CLASSES)


def test_only_visible_images_are_taken_at_any_depth(tmp_path: Path) -> None:
    root = files.write_folder(tmp_path, 2, None)
    cats = root / "train" / "cat"
    for name in ("Thumbs.db", "notes.txt", "1.jpg.part", ".hidden.jpg", "._0.jpg"):
        (cats / name).write_bytes(b"?")
    (cats / ".thumbnails").mkdir()
    files.write_photo(cats / ".thumbnails" / "0.jpg")
    (root / "train" / ".git").mkdir()
    (root / "train" / "labels.csv").write_text("cat,dog")
    files.write_photo(cats / "Kätzchen 猫" / "größer.JPEG")
    files.write_photo(cats / "a" / "b" / "deep.png")
    (cats / "up").symlink_to(cats)  # would never end
    elsewhere = files.write_photo(tmp_path / "elsewhere" / "linked.jpg")
    (cats / "linked folder").symlink_to(elsewhere.parent)
    (cats / "z.jpg").symlink_to(elsewhere)
    data = open_image_folder(root)
    found = [name for name in names(data.train) if not name.startswith("dog/")]
    assert found == [
        "cat/0.jpg",
        "cat/1.jpg",
        "Kätzchen 猫/größer.JPEG",
        "b/deep.png",
        "linked folder/linked.jpg",
        "cat/z.jpg",
    ]
    assert data.class_names == files.CLASSES


def test_unicode_class_names(tmp_path: Path) -> None:
    for name in ("猫", "Hündchen", "zebra"):
        files.write_photo(tmp_path / "train" / name / "ü.jpg")
    assert open_image_folder(tmp_path).class_names == ("Hündchen", "zebra", "猫")


def test_test_has_the_classes_of_train(tmp_path: Path) -> None:
    root = files.write_folder(tmp_path)
    (root / "test" / "dog").rename(root / "test" / "wolf")
    with pytest.raises(
        ValueError, match="test has other classes than train: it lacks dog and also has wolf"
    ):
        open_image_folder(root)


@pytest.mark.parametrize("content", [None, b"", b"no image"])
def test_a_class_without_a_readable_image_is_an_error(
    content: bytes | None, tmp_path: Path
) -> None:
    root = files.write_folder(tmp_path, 2)
    for path in (root / "test" / "dog").iterdir():
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
    count = 0 if content is None else 2
    with pytest.raises(ValueError, match=f"dog has no image that can be read, of {count}"):
        open_image_folder(root)


def test_an_unreadable_photo_is_named_once_and_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = files.write_folder(tmp_path, 3)
    bad = files.cut_short(root / "train" / "cat" / "1.jpg")
    with caplog.at_level(logging.WARNING):
        train = open_image_folder(root).train
        for _ in range(3):
            for side in (10, 20):
                with pytest.raises(UnreadableImageError, match=r"cat/1\.jpg"):
                    train.read(1, side)
    assert [record.getMessage() for record in caplog.records] == [f"skipped {train.skipped[bad]}"]
    assert list(train.skipped) == [bad]
    assert train.read(2, 10).shape[0] >= 10


def test_photos_stay_decoded_up_to_the_limit(tmp_path: Path) -> None:
    paths = [files.write_photo(tmp_path / f"{k}.png", k, 10, 10) for k in range(3)]
    photos = PhotoSet(paths, np.zeros(3, np.int64), cache_bytes=2 * 300 + 299)
    images = [photos.read(k, 10) for k in range(3)]
    for path in paths:
        path.unlink()
    for k in range(2):
        np.testing.assert_array_equal(photos.read(k, 10), images[k])
    with pytest.raises(FileNotFoundError, match=r"2\.png"):
        photos.read(2, 10)
    assert not photos.skipped


@pytest.mark.parametrize(
    "name",
    [
        *("a.jfif", "a.jpe", "a.JPEG", "a.avif", "a.bmp", "a.gif", "a.webp", "a.tif", "a.ppm"),
        *("a.jp2", "a.apng", "a.pgm"),
    ],
)
def test_images_of_every_extension_are_taken(name: str, tmp_path: Path) -> None:
    for animal in files.CLASSES:
        path = tmp_path / "train" / animal / name
        path.parent.mkdir(parents=True)
        kind = {"jfif": "JPEG", "jpe": "JPEG", "apng": "PNG"}.get(name[2:])
        Image.fromarray(LARGE).save(path, kind)
    assert len(open_image_folder(tmp_path).train) == 2


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "AVIF"])
def test_images_of_no_extension_are_told_by_their_content(kind: str, tmp_path: Path) -> None:
    root = files.write_folder(tmp_path, 1, None)
    for name in ("IMG_0001", "photo.jpg_large", "view.php"):
        (root / "train" / "cat" / name).write_bytes(encoded(Image.fromarray(LARGE), kind))
    assert len(open_image_folder(root).train) == 5


def warnings_of(action: Callable[[], object], caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.WARNING, "alexnet"):
        action()
    return [record.getMessage() for record in caplog.records]


def test_what_is_ignored_is_counted_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = files.write_folder(tmp_path, 1, None)
    cats = root / "train" / "cat"
    for number in range(7):
        (cats / f"{number}.txt").write_text("a cat")
    (cats / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (root / "train" / "dog" / "empty").touch()
    (root / "train" / "dog" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    files.write_photo(root / "train" / "loose.jpg")
    for hidden in ("._0.jpg", ".DS_Store", "Thumbs.db", "desktop.ini"):
        (cats / hidden).write_bytes(b"?")
    folder = root / "train"
    assert warnings_of(lambda: open_image_folder(root), caplog) == [
        f"{folder}: ignored 1 file (in no class's folder): loose.jpg",
        f"{folder}: ignored 7 files (no image): cat/0.txt, cat/1.txt, cat/2.txt, cat/3.txt, "
        "cat/4.txt, …",
        f"{folder}: ignored 1 file (no image that is read here, but HEIC: convert it to JPEG or "
        "PNG): cat/a.heic",
        f"{folder}: ignored 1 file (no image: empty): dog/empty",
        f"{folder}: ignored 1 file (no regular file): dog/gone.jpg",
    ]


def test_a_folder_with_nothing_to_ignore_is_not_talked_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = files.write_folder(tmp_path, 1)
    (root / "train" / "__MACOSX").mkdir()
    assert warnings_of(lambda: open_image_folder(root), caplog) == []


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_folder_one_level_too_deep_is_an_error(part: str, tmp_path: Path) -> None:
    root = files.write_folder(tmp_path, 1)
    (root / part).rename(root / "inner")
    (root / part).mkdir()
    (root / "inner").rename(root / part / part)
    with pytest.raises(
        ValueError,
        match=rf"/{part} has one class only, {part}, with the folders cat, dog in it: "
        "if these are the classes, move them up",
    ):
        open_image_folder(root)


def test_one_class_only_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = files.write_folder(tmp_path, 1, None)
    shutil.rmtree(root / "train" / "dog")
    said = warnings_of(lambda: open_image_folder(root), caplog)
    assert said == [f"{root / 'train'} has one class only, cat: it is always right"]


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "validation"),
        ("train", "valid"),
        ("Train", "Test"),
        ("TRAIN", "Val"),
        ("Training", "Testing"),
        ("training", "Validation"),
    ],
)
def test_names_of_the_parts_in_any_case(train: str, test: str, tmp_path: Path) -> None:
    root = files.write_folder(tmp_path, 2)
    (root / "train").rename(root / train)
    (root / "test").rename(root / test)
    data = open_dataset(root)
    assert len(data.train) == 4
    assert data.test is not None
    assert data.test.paths[0] == root / test / "cat" / "0.jpg"


@pytest.mark.parametrize("inner", [".", "unknown", "test"])
def test_test_images_without_classes_leave_val_to_be_taken(
    inner: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = files.write_folder(tmp_path, 2, "val")
    files.write_photo(root / "test" / inner / "1.jpg")
    data = open_image_folder(root)
    assert data.test is not None
    assert data.test.paths[0].parts[-3:] == ("val", "cat", "0.jpg")
    shutil.rmtree(root / "val")
    assert open_image_folder(root).test is None
    assert warnings_of(lambda: open_image_folder(root), caplog) == [
        f"{root / 'test'} has no folders of classes, and is not used"
    ]


def test_what_is_not_used_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = tmp_path
    for part in ("test", "validation", "Val"):
        files.write_folder(root, 1, part)
    said = warnings_of(lambda: open_image_folder(root), caplog)
    assert said == [f"not used: {root / 'Val'}, {root / 'validation'}"]


# --- a share for testing --------------------------------------------------------------------------


def test_folders_of_classes_alone_are_split(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = files.write_folder(tmp_path, 10, None) / "train"
    said = warnings_of(lambda: open_dataset(root), caplog)
    assert said == [
        f"{root} has no test images: of 20 in the classes cat, dog, 4 are for testing, by "
        "split seed 0"
    ]
    data = open_dataset(root)
    assert data.class_names == ("cat", "dog")
    assert data.train.labels.tolist() == [0] * 8 + [1] * 8
    assert data.test is not None
    assert data.test.labels.tolist() == [0, 0, 1, 1]
    train, test = set(data.train.paths), set(data.test.paths)
    assert train | test == set(root.rglob("*.jpg"))
    assert not train & test
    assert open_dataset(root).test.digest == data.test.digest
    others = [open_dataset(root, split_seed=seed).test.digest for seed in range(1, 5)]
    assert len({data.test.digest, *others}) > 3
    half = open_dataset(root, test_share=0.5)
    assert len(half.train) == len(half.test) == 10
    assert open_dataset(root, test_share=0).test is None


def test_a_share_of_train_is_for_testing_if_asked_for(tmp_path: Path) -> None:
    root = files.write_folder(tmp_path, 3, None)
    files.write_photo(root / "train" / "wolf" / "0.jpg")
    assert open_dataset(root).test is None
    data = open_dataset(root, test_share=0.01)
    assert data.train.labels.tolist() == [0, 0, 1, 1, 2]  # of one photo, none is for testing
    assert data.test.labels.tolist() == [0, 1]


def test_a_share_beside_test_images_is_refused(tmp_path: Path) -> None:
    cifar = cifar_files.write_directory(tmp_path / "cifar")
    for root in (files.write_folder(tmp_path / "photos", 2), cifar):
        with pytest.raises(ValueError, match=r"has test images: test_share is 0.2, expected none"):
            open_dataset(root, test_share=0.2)
    for share in (1, -0.1, float("nan")):
        with pytest.raises(ValueError, match=r"test_share is .*, expected a finite number"):
            open_dataset(tmp_path / "photos" / "train", test_share=share)


def test_damaged_photos_of_a_split_are_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = files.write_folder(tmp_path, 4, None) / "train"
    for number in range(3):
        files.cut_short(root / "cat" / f"{number}.jpg")

    def read_all() -> None:
        data = open_dataset(root)
        for part in (data.train, data.test):
            for position in range(len(part)):
                with suppress(UnreadableImageError):
                    part.read(position, 8)

    said = warnings_of(read_all, caplog)
    damaged = [line.split(":")[0] for line in said if line.startswith("skipped")]
    assert sorted(damaged) == [f"skipped {root}/cat/{number}.jpg" for number in range(3)]
    assert len(said) == 1 + 3


COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Kätzchen") for form in ("NFC", "NFD"))


def test_both_spellings_of_an_accent_are_one_class(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert COMPOSED != DECOMPOSED
    files.write_folder(tmp_path, 1)
    files.write_photo(tmp_path / "train" / COMPOSED / "0.jpg")
    files.write_photo(tmp_path / "test" / DECOMPOSED / "0.jpg")
    data = open_image_folder(tmp_path)
    assert data.class_names == (COMPOSED, "cat", "dog")
    assert data.test is not None
    assert data.test.labels.tolist() == [0, 1, 2]

    files.write_photo(tmp_path / "train" / DECOMPOSED / "1.jpg")
    said = warnings_of(lambda: open_image_folder(tmp_path), caplog)
    assert [line for line in said if "2 folders of the class" in line] == said
    data = open_image_folder(tmp_path)
    assert data.class_names == (COMPOSED, "cat", "dog")
    assert data.train.labels.tolist() == [0, 0, 1, 2]


# --- digest ---------------------------------------------------------------------------------------


def test_a_digest_is_of_the_photos_and_not_of_their_place(tmp_path: Path) -> None:
    root = files.write_folder(tmp_path / "a", 3, None)
    digest = open_image_folder(root).train.digest
    moved = tmp_path / "b"
    for path in sorted(root.rglob("*.jpg"), reverse=True):  # another order, other times
        (moved / path.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, moved / path.relative_to(root))
    assert open_image_folder(moved).train.digest == digest
    linked = tmp_path / "c"
    linked.symlink_to(root)
    assert open_image_folder(linked).train.digest == digest


def change_a_byte(root: Path) -> None:
    content = bytearray((root / "cat" / "1.jpg").read_bytes())
    content[len(content) // 2] ^= 1
    (root / "cat" / "1.jpg").write_bytes(content)


def rename(root: Path) -> None:
    (root / "cat" / "1.jpg").rename(root / "cat" / "11.jpg")


def swap_labels(root: Path) -> None:
    (root / "cat").rename(root / "x")
    (root / "dog").rename(root / "cat")
    (root / "x").rename(root / "dog")


def append(root: Path) -> None:
    with (root / "dog" / "2.jpg").open("ab") as file:
        file.write(b"?")


@pytest.mark.parametrize("change", [change_a_byte, rename, swap_labels, append])
def test_other_photos_have_another_digest(change: Callable[[Path], None], tmp_path: Path) -> None:
    root = files.write_folder(tmp_path, 3, None)
    digest = open_image_folder(root).train.digest
    assert open_image_folder(root).train.digest == digest
    change(root / "train")
    assert open_image_folder(root).train.digest != digest


# --- told by content ------------------------------------------------------------------------------


def test_cifar10_is_told_by_its_files(tmp_path: Path) -> None:
    root = cifar_files.write_directory(tmp_path / "cifar-10-batches-py")
    for path in (root, root.parent, str(root)):
        data = open_dataset(path)
        assert data.class_names == cifar_files.CLASSES
        assert data.train.image_shape == (32, 32, 3)
        assert len(data.train) == 60
        assert not data.train.skipped


def test_what_is_neither_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"neither a CIFAR-10 directory .* nor a folder of photos"):
        open_dataset(tmp_path)
    files.write_folder(tmp_path / "inner", 1)
    with pytest.raises(ValueError, match=r"or CLASS/\*.jpg\): did you mean .*/inner\?"):
        open_dataset(tmp_path)
    shutil.rmtree(tmp_path / "inner")
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        open_dataset(tmp_path / "nowhere")
    (tmp_path / "train").mkdir()
    with pytest.raises(ValueError, match="train has no folders, expected one for each class"):
        open_dataset(tmp_path)
