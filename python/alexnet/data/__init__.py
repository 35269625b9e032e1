"""Image sets on disk and the batches that training and evaluation draw from them."""

from contextlib import suppress
from pathlib import Path

from alexnet.contract.arguments import check_path
from alexnet.data.cifar10 import ARCHIVE, find_cifar10, open_cifar10
from alexnet.data.image_folder import PhotoSet, is_image_folder, open_image_folder, unsorted
from alexnet.data.imagenet import imagenet_classes
from alexnet.data.loader import Batch, TrainingBatches, ordered_batches
from alexnet.data.photos import read_image
from alexnet.data.preprocessing import AUGMENTATIONS, TEN_CROP_VIEWS, Preprocessing
from alexnet.data.sources import Dataset, ImageSet, ImageSource, UnreadableImageError

__all__ = [
    "AUGMENTATIONS",
    "TEN_CROP_VIEWS",
    "Batch",
    "Dataset",
    "ImageSet",
    "ImageSource",
    "PhotoSet",
    "Preprocessing",
    "TrainingBatches",
    "UnreadableImageError",
    "imagenet_classes",
    "open_cifar10",
    "open_dataset",
    "open_image_folder",
    "ordered_batches",
    "read_image",
]


def open_dataset(
    path: str | Path, *, test_share: float | None = None, split_seed: int = 0
) -> Dataset:
    """Open the images at `path`: CIFAR-10 or a folder of photos, told by its content.

    CIFAR-10 is a directory or the archive that is downloaded, see `open_cifar10`.

    `test_share` and `split_seed` are for photos without test images, see `open_image_folder`.

    Raises
    ------
    OSError
        It is missing, or a file in it cannot be read.
    ValueError
        It is neither of the two, or what is in it is not as it has to be.
    TypeError
        `path` is neither str nor os.PathLike.
    """
    path = check_path("open_dataset", "path", path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    if path.is_file() or find_cifar10(path) is not None:
        if test_share is not None:
            raise ValueError(f"{path} has test images: test_share is {test_share}, expected none")
        return open_cifar10(path)
    if is_image_folder(path):
        return open_image_folder(path, test_share=test_share, split_seed=split_seed)
    raise ValueError(
        f"{path} is neither CIFAR-10 (python version: its directory or {ARCHIVE}) nor a folder "
        "of photos (train/CLASS/*.jpg, and test/ or val/ beside it; or CLASS/*.jpg)"
        f"{_hint(path)}"
    )


def _hint(path: Path) -> str:
    """Say which folders in `path` are what it is not, or what to do with photos in no folder."""
    good = []
    for entry in sorted(path.iterdir()) if path.is_dir() else []:
        with suppress(OSError):  # it may not be allowed to look into it
            if find_cifar10(entry) is not None or is_image_folder(entry):
                good.append(entry)
    if good:
        return f": did you mean {' or '.join(map(str, good[:3]))}?"
    return unsorted(path) if path.is_dir() else ""
