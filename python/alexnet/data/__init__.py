"""Image sets on disk and the batches that training and evaluation draw from them."""

from pathlib import Path

from alexnet.data.cifar10 import find_cifar10, open_cifar10
from alexnet.data.image_folder import PhotoSet, is_image_folder, open_image_folder
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
    "open_cifar10",
    "open_dataset",
    "open_image_folder",
    "ordered_batches",
    "read_image",
]


def open_dataset(path: str | Path) -> Dataset:
    """Open the images at `path`: a CIFAR-10 directory or a folder of photos, told by its content.

    Raises
    ------
    OSError
        It is missing, or a file in it cannot be read.
    ValueError
        It is neither of the two, or what is in it is not as it has to be.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    if find_cifar10(path) is not None:
        return open_cifar10(path)
    if is_image_folder(path):
        return open_image_folder(path)
    raise ValueError(
        f"{path} is neither a CIFAR-10 directory (python version, with batches.meta) nor a folder "
        "of photos (train/CLASS/*.jpg, and test/ or val/ beside it)"
    )
