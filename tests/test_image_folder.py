"""Photos in files of every kind, and folders of them."""

from __future__ import annotations

import logging
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cifar_files
import photo_files as files
from alexnet.data import (
    PhotoSet,
    UnreadableImageError,
    open_dataset,
    open_image_folder,
    read_image,
)
from alexnet.data.photos import LARGEST_IMAGE, ORIENTATION_TAG

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


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_upright(orientation: int, tmp_path: Path) -> None:
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
    path = saved(image, tmp_path / "photo.png", exif=exif)
    np.testing.assert_array_equal(read_image(path), upright)


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
        (b"", "no image"),
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
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        open_dataset(tmp_path / "nowhere")
    (tmp_path / "train").mkdir()
    with pytest.raises(ValueError, match="train has no folders, expected one for each class"):
        open_dataset(tmp_path)
