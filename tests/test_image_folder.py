"""Folders of photos: what is found, divided, and told apart by content."""

from __future__ import annotations

import logging
import shutil
import unicodedata
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
from support import cifar_files
from support import photo_files as files


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
        Image.fromarray(files.noise(1, 32, 48)).save(path, kind)
    assert len(open_image_folder(tmp_path).train) == 2


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "AVIF"])
def test_images_of_no_extension_are_told_by_their_content(kind: str, tmp_path: Path) -> None:
    root = files.write_folder(tmp_path, 1, None)
    content = files.encoded(Image.fromarray(files.noise(1, 32, 48)), kind)
    for name in ("IMG_0001", "photo.jpg_large", "view.php"):
        (root / "train" / "cat" / name).write_bytes(content)
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
    assert said == [f"{root / 'train'} has one class only, cat: every answer is right"]


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
    with pytest.raises(ValueError, match=r"neither CIFAR-10 .* nor a folder of photos"):
        open_dataset(tmp_path)
    files.write_folder(tmp_path / "inner", 1)
    with pytest.raises(ValueError, match=r"or CLASS/\*.jpg\): did you mean .*/inner\?"):
        open_dataset(tmp_path)
    shutil.rmtree(tmp_path / "inner")
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        open_dataset(tmp_path / "nowhere")
    (tmp_path / "train").mkdir()
    with pytest.raises(ValueError, match=r"train has no folders, expected one for each class$"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("folder", [".", "train"])
def test_photos_in_no_class_s_folder_are_to_be_sorted(folder: str, tmp_path: Path) -> None:
    for name in ("0.jpg", "1.jpg"):
        files.write_photo(tmp_path / folder / name)
    step = "make a folder for each class, and move them into these$"
    with pytest.raises(ValueError, match=rf": 2 photos in it, such as 0\.jpg; {step}"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("folder", [".", "train"])
def test_classes_in_the_names_of_photos_are_named(folder: str, tmp_path: Path) -> None:
    for name in ("cat.0.jpg", "cat.1.jpg", "dog.0.jpg"):
        files.write_photo(tmp_path / folder / name)
    step = "a folder for each class, which their names begin with: cat, dog, and move"
    with pytest.raises(ValueError, match=rf": 3 photos in it, such as cat\.0\.jpg; make {step}"):
        open_dataset(tmp_path)
