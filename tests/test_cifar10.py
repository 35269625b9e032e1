"""CIFAR-10 files: what is read from good ones, and that nothing of a bad one runs."""

from __future__ import annotations

import gzip
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest

from alexnet.data import open_cifar10, open_dataset
from alexnet.data.cifar10 import read_pickle
from support import cifar_files as files


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return files.write_directory(tmp_path / "cifar-10-batches-py")


def test_images_labels_and_names_as_written(root: Path) -> None:
    data = open_cifar10(root)
    expected = [files.easy_images(number, 12) for number in range(5)]
    np.testing.assert_array_equal(data.train.pixels, np.concatenate([p for p, _ in expected]))
    np.testing.assert_array_equal(data.train.labels, np.concatenate([k for _, k in expected]))
    np.testing.assert_array_equal(data.test.pixels, files.easy_images(5, 12)[0])
    assert data.class_names == files.CLASSES
    assert data.train.image_shape == (32, 32, 3)


def test_the_directory_above_will_do(root: Path) -> None:
    assert len(open_cifar10(root.parent).train) == 60


def test_names_and_orders_of_other_numpy_versions(root: Path) -> None:
    pixels, labels = files.easy_images(0, 12)
    flat = np.frombuffer(files.planes(pixels), np.uint8).reshape(12, 3072)
    new = files.array(flat.tobytes(), (12, 3072), module="numpy._core.multiarray")
    (root / "data_batch_1").write_bytes(files.batch(new, labels.tolist()))
    fortran = files.array(flat.tobytes("F"), (12, 3072), fortran=True)
    (root / "data_batch_2").write_bytes(files.batch(fortran, labels.tolist()))
    by_python3 = {"data": flat, "labels": labels.tolist()}
    (root / "data_batch_3").write_bytes(pickle.dumps(by_python3, protocol=4))
    train = open_cifar10(root).train
    for first in (0, 12, 24):
        np.testing.assert_array_equal(train.pixels[first : first + 12], pixels)


# --- hostile pickles ------------------------------------------------------------------------------

DATA = files.array(bytes(3072), (1, 3072))
RECONSTRUCT = files.global_of("numpy.core.multiarray", "_reconstruct")
NDARRAY = files.global_of("numpy", "ndarray")
DTYPE = files.global_of("numpy", "dtype")


def hostile(marker: Path) -> dict[str, bytes]:
    """Values in place of a batch's data that would do harm; most of them make the file `marker`."""
    touch = files.string(f"touch {marker}")
    write = files.string(f"open({str(marker)!r}, 'w')")
    system = files.called(files.global_of("os", "system"), touch)
    load = files.called(files.global_of("numpy", "load"), files.string(str(marker)))
    return {
        "os.system": system,
        "posix.system": files.called(files.global_of("posix", "system"), touch),
        "builtins.eval": files.called(files.global_of("builtins", "eval"), write),
        "__builtin__.eval": files.called(files.global_of("__builtin__", "eval"), write),
        "subprocess": files.called(files.global_of("subprocess", "getoutput"), touch),
        "numpy.load": load,
        "attribute of an allowed module": files.global_of("numpy", "ndarray.tofile"),
        "getattr": files.called(
            files.global_of("builtins", "getattr"), NDARRAY, files.string("__class__")
        ),
        "in the arguments of _reconstruct": files.called(RECONSTRUCT, system),
        "in the array's state": files.called(RECONSTRUCT, NDARRAY)
        + files.tuple_of([files.integer(1), system])
        + pickle.BUILD,
        "in a dtype": files.called(DTYPE, system),
        "dotted": pickle.SHORT_BINUNICODE
        + b"\x05numpy"
        + pickle.SHORT_BINUNICODE
        + b"\x0ecore.os.system"
        + pickle.STACK_GLOBAL,
        "old class": pickle.MARK + touch + pickle.INST + b"os\nsystem\n",
        "old object": pickle.MARK + files.global_of("os", "system") + touch + pickle.OBJ,
        "new object": files.global_of("os", "system") + files.tuple_of([touch]) + pickle.NEWOBJ,
        "persistent": touch + pickle.BINPERSID,
        "extension": pickle.EXT1 + b"\x01",
        "called twice": files.called(files.called(RECONSTRUCT, NDARRAY), touch),
        "ndarray called": files.called(NDARRAY, files.tuple_of([files.integer(2**31 - 1)])),
        "ndarray made": NDARRAY + files.tuple_of([files.integer(8)]) + pickle.NEWOBJ,
    }


@pytest.mark.parametrize("name", hostile(Path()))
def test_a_hostile_pickle_is_refused_and_runs_nothing(
    name: str, root: Path, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    (root / "data_batch_3").write_bytes(files.batch(hostile(marker)[name], [0]))
    with pytest.raises(ValueError, match=r"data_batch_3: no pickle of CIFAR-10, and not run: "):
        open_cifar10(root)
    assert not marker.exists()


@pytest.mark.parametrize("target", [RECONSTRUCT, NDARRAY, DTYPE])
def test_the_stand_ins_cannot_be_changed(target: bytes, root: Path) -> None:
    slots = pickle.EMPTY_DICT + files.string("name") + files.string("u1") + pickle.SETITEM
    state = files.tuple_of([pickle.NONE, slots])
    for change in (slots, state):
        content = files.batch(target + change + pickle.BUILD, [0])
        (root / "data_batch_1").write_bytes(content)
        with pytest.raises(ValueError, match="it changes an object that has no state"):
            open_cifar10(root)
    files.write_directory(root)
    assert len(open_cifar10(root).train) == 60


def test_a_high_number_in_the_memo_takes_no_memory(root: Path) -> None:
    bomb = pickle.NONE + pickle.LONG_BINPUT + struct.pack("<I", 2**32 - 1)
    (root / "data_batch_1").write_bytes(files.batch(bomb, [0]))
    with pytest.raises(ValueError, match="data is a NoneType, expected an array"):
        open_cifar10(root)


# --- damaged files --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "labels", "message"),
    [
        (files.array(bytes(8), (1, 3072), dtype="O8"), [0], "data is not an array of uint8"),
        (files.array(bytes(3072), (1, 768), dtype="f4"), [0], "data is not an array of uint8"),
        (files.array(bytes(3072), (2, 1536)), [0], r"data has shape \(2, 1536\)"),
        (files.array(bytes(3072), (3072,)), [0], r"data has shape \(3072,\)"),
        (files.array(bytes(3072), (-1, 3072)), [0], r"data has shape \(-1, 3072\)"),
        (files.array(bytes(3072), (-1, -3072)), [0], r"data has shape \(-1, -3072\)"),
        (files.array(bytes(3072), (2**31 - 1, 3072)), [0], "data has 3072 bytes for the shape"),
        (files.array(bytes(3071), (1, 3072)), [0], "data has 3071 bytes for the shape"),
        (files.called(RECONSTRUCT, NDARRAY), [0], "data is not an array of uint8"),
        (files.called(DTYPE, files.string("u1")), [0], "data is a _Dtype, expected an array"),
        (files.string("abc"), [0], "data is a str, expected an array"),
        (DATA, [0, 1], "labels has 2 entries, expected a list of 1"),
        (DATA, [], "labels has 0 entries, expected a list of 1"),
        (DATA, [3], "labels has the value 3, expected integers from 0 to 2"),
        (DATA, [-1], "labels has the value -1, expected integers from 0 to 2"),
    ],
)
def test_contents_are_checked(data: bytes, labels: list[int], message: str, root: Path) -> None:
    (root / "test_batch").write_bytes(files.batch(data, labels))
    with pytest.raises(ValueError, match=f"test_batch: {message}"):
        open_cifar10(root)


def test_entries_are_checked(root: Path) -> None:
    (root / "test_batch").write_bytes(files.dictionary(data=DATA))
    with pytest.raises(ValueError, match="test_batch: the pickled dictionary has no 'labels'"):
        open_cifar10(root)
    (root / "test_batch").write_bytes(files.dictionary(data=DATA, labels=DATA))
    with pytest.raises(ValueError, match="test_batch: labels has PickledArray"):
        open_cifar10(root)
    (root / "test_batch").write_bytes(
        files.dictionary(data=DATA, labels=files.list_of([files.string("1")]))
    )
    with pytest.raises(ValueError, match="test_batch: labels has the value '1'"):
        open_cifar10(root)
    (root / "test_batch").write_bytes(pickle.PROTO + b"\x02" + files.list_of([]) + pickle.STOP)
    with pytest.raises(ValueError, match="test_batch: the pickle holds a list"):
        open_cifar10(root)
    (root / "batches.meta").write_bytes(files.dictionary(label_names=files.list_of([])))
    with pytest.raises(ValueError, match=r"batches\.meta: label_names is \[\]"):
        open_cifar10(root)


def test_a_file_cut_short_anywhere(tmp_path: Path) -> None:
    pixels, labels = files.easy_images(0, 1)
    content = files.batch_of(pixels, labels.tolist())
    path = tmp_path / "data_batch_1"
    boundary = len(content) - 3072
    for length in [*range(200), *range(200, boundary, 13), *range(len(content) - 60, len(content))]:
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="data_batch_1: no pickle of CIFAR-10"):
            read_pickle(path, path.read_bytes())


def test_damaged_bytes_give_a_value_error_or_images(root: Path) -> None:
    pixels, labels = files.easy_images(0, 2)
    content = np.frombuffer(files.batch_of(pixels, labels.tolist()), np.uint8)
    outside = np.flatnonzero(np.arange(content.size) < 320)  # before most of the pixels
    outside = np.concatenate([outside, np.arange(content.size - 60, content.size)])
    generator = np.random.default_rng(7)
    refused = 0
    for _ in range(1500):
        damaged = content.copy()
        places = generator.choice(outside, generator.integers(1, 4))
        damaged[places] = generator.integers(0, 256, places.size)
        (root / "data_batch_1").write_bytes(damaged.tobytes())
        try:
            data = open_cifar10(root)
        except ValueError:
            refused += 1
        else:
            assert data.train.pixels.dtype == np.uint8
            assert set(data.train.labels.tolist()) <= {0, 1, 2}
    assert refused > 500


def test_missing_and_oversized_files(root: Path, tmp_path: Path) -> None:
    with (root / "data_batch_2").open("wb") as file:
        file.truncate(2**28 + 1)
    with pytest.raises(ValueError, match="data_batch_2: 268,435,457 bytes, expected at most"):
        open_cifar10(root)
    (root / "data_batch_2").unlink()
    with pytest.raises(FileNotFoundError, match="data_batch_2"):
        open_cifar10(root)
    with pytest.raises(FileNotFoundError, match=r"not a CIFAR-10 directory .* no batches\.meta"):
        open_cifar10(tmp_path / "nowhere")


# --- the archive that is downloaded ---------------------------------------------------------------


def archived(root: Path, path: Path, mode: str = "w:gz", form: int = tarfile.GNU_FORMAT) -> Path:
    with tarfile.open(path, mode, format=form) as archive:
        archive.add(root, "cifar-10-batches-py")
    return path


@pytest.mark.parametrize("mode", ["w:gz", "w"])
@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_the_archive_has_the_same_images(mode: str, form: int, root: Path, tmp_path: Path) -> None:
    path = archived(root, tmp_path / "cifar-10-python.tar.gz", mode, form)
    before = sorted(tmp_path.rglob("*"))
    data, expected = open_dataset(path), open_cifar10(root)
    assert data.class_names == expected.class_names
    assert data.train.digest == expected.train.digest
    assert data.test.digest == expected.test.digest
    assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(ValueError, match=r"has test images: test_share is 0\.5"):
        open_dataset(path, test_share=0.5)


def test_other_members_of_an_archive_are_not_looked_at(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(root, "./cifar-10-batches-py")
        for name, kind in (("../x", tarfile.REGTYPE), ("/etc/x", tarfile.SYMTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    assert len(open_cifar10(path).train) == 60
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo("cifar-10-batches-py/batches.meta")
        member.type, member.linkname = tarfile.SYMTYPE, str(root / "batches.meta")
        archive.addfile(member)
    with pytest.raises(ValueError, match=r"holds no cifar-10-batches-py/batches\.meta"):
        open_cifar10(path)


def test_faults_of_an_archive_name_it(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "cifar-10-python.tar.gz"
    (root / "data_batch_3").write_bytes(b"N.")
    with pytest.raises(ValueError, match=r"tar\.gz/cifar-10-batches-py/data_batch_3: the pickle"):
        open_cifar10(archived(root, path))
    (root / "data_batch_3").unlink()
    with pytest.raises(ValueError, match=r"tar\.gz: the archive holds no .*/data_batch_3"):
        open_cifar10(archived(root, path))
    for content in (b"", b"x", b"photo", bytes(99), b"\x1f\x8b\x08", gzip.compress(b"x" * 5000)):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"cifar-10-python\.tar\.gz: "):
            open_dataset(path)


def test_an_archive_unpacks_to_a_bounded_size(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(bytes(2**27)))
    assert path.stat().st_size < 2**18
    with pytest.raises(ValueError, match="it unpacks to more than"):
        open_cifar10(path)


@pytest.mark.parametrize("mode", ["w:gz", "w"])
def test_a_damaged_archive_gives_one_line_or_images(mode: str, root: Path, tmp_path: Path) -> None:
    path = archived(root, tmp_path / "a.tar.gz", mode)
    content = path.read_bytes()
    generator = np.random.default_rng(11)
    messages = []
    for _ in range(150):
        damaged = bytearray(content[: int(generator.integers(1, len(content) + 1))])
        for place in generator.integers(0, len(damaged), 3).tolist():
            damaged[place] ^= int(generator.integers(1, 256))
        path.write_bytes(damaged)
        try:
            open_cifar10(path)
        except ValueError as error:
            messages.append(str(error))
    assert all("a.tar.gz" in message and "\n" not in message for message in messages)
    assert len(messages) > 100
