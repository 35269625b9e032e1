"""One image file to RGB pixels, whatever its format, colours and orientation.

Only the formats below are tried, by content: Pillow would hand others, PostScript for one, to
programs that run what the file says. A file is read first and decoded then, so that a fault of the
system (no file descriptor, a disk that is gone) is never taken for one of the image.
"""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path

import numpy as np

# Imported here for what they register: Pillow would import them when the first such file comes, and
# take it for no image where that fails for want of a file descriptor.
from PIL import (  # noqa: F401
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from alexnet.contract.arguments import check_int, check_path
from alexnet.data.patience import patiently
from alexnet.data.sources import Pixels, UnreadableImageError, check_pixels
from alexnet.files import open_regular, read_regular

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000")
PREFIX = 16  # bytes that Pillow tells a format by
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
LARGEST_FILE = 2**30  # bytes; the largest image in 16 bits, not compressed, has half of that
LARGEST_IMAGE = 2**26  # pixels; 200 MB in memory as RGB
LARGEST_SIDE = 2**13  # pixels of the shorter one
JPEG_BLOCK = 8  # pixels
SHARPNESS = 2  # how many times as large as asked for a JPEG is decoded, at least
DECODER_MEMORY = 32  # bytes that decoding takes for a pixel, at most: JPEG 2000's 32-bit integers
SPARE_MEMORY = 2**24  # bytes that it takes besides
ORIENTATION_TAG = 0x0112
UPRIGHT = {  # what undoes each orientation of the Exif standard; 1 is upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(path: str | Path, shortest_side: int | None = None) -> Pixels:
    """Read an image file: uint8 (height, width, 3), red, green, blue, upright as its Exif data say.

    Greyscale (16 bits too), palette and CMYK images are converted; what is transparent becomes
    white. Of several frames it is the first. With `shortest_side`, the image is resized, in its
    proportions, so that the shorter of height and width has that many pixels (bilinear, over all
    pixels that a new one covers). A JPEG of whole blocks, its sides multiples of 8, is then decoded
    at a fraction of its size that is at least twice as large: a smooth picture differs by at most 8
    of 255 from one decoded in full, a line of one pixel on its border by at most 30. Others are
    decoded in full, as the last block of each row and column has pixels that are not the image's.

    Where the system is short of file descriptors or memory for a moment, it is tried again for
    three seconds.

    Raises
    ------
    TypeError, ValueError
        `shortest_side` is no integer from 1 to 2**13.
    OSError
        The file cannot be opened or read.
    MemoryError
        There is not enough memory.
    UnreadableImageError
        It is no regular file, no image of the formats known here, cut short, damaged or larger
        than 2**26 pixels or 1 GiB: a fault of its content.
    """
    path = check_path("read_image", "path", path)
    if shortest_side is not None:
        shortest_side = check_int("read_image", "shortest_side", shortest_side, 1, LARGEST_SIDE)
    content = patiently(lambda: _content(path))
    try:
        return patiently(lambda: _decoded(content, shortest_side))
    except MemoryError as error:
        raise MemoryError(f"{path}: out of memory") from error
    except Exception as error:  # of a damaged file, Pillow's decoders raise anything
        known = not isinstance(error, UnidentifiedImageError)
        reason = str(error) if known else _unknown(content[:PREFIX]) or "no image"
        raise UnreadableImageError(f"{path}: {reason or type(error).__name__}") from error


def image_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of an image file in pixels as they are stored, before Exif turns them.

    The errors are those of `read_image`, but damage behind the header is not found.
    """
    path = check_path("image_size", "path", path)
    content = patiently(lambda: _content(path))
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            return image.height, image.width
    except Exception as error:  # of a damaged file, Pillow's decoders raise anything
        raise UnreadableImageError(f"{path}: {error}") from error


def as_pixels(image: Image.Image | Pixels, shortest_side: int) -> Pixels:
    """Make a picture in memory what `read_image` makes of a file: upright, RGB, of that size.

    Raises
    ------
    TypeError, ValueError
        An array is not uint8 (height, width, 3); an image has no pixels, more than 2**26, or
        floating ones.
    """
    if not isinstance(image, Image.Image):
        check_pixels("predict", "image", image)
        image = Image.fromarray(image)
    try:
        return _pixels(image.copy(), shortest_side)  # a copy, since decoding may change the image
    except ValueError as error:
        raise ValueError(f"predict: image: {error}") from error


def why_no_image(path: Path) -> str | None:
    """None for a file with an image's extension or, without one, an image's first bytes.

    Otherwise why it is no image. A file with the extension is not opened.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    if path.suffix.lower() in _extensions():
        return None
    try:
        prefix = patiently(lambda: _prefix(path))
    except PermissionError:
        return "without permission to read them"
    return _unknown(prefix)


@lru_cache
def _extensions() -> frozenset[str]:
    return frozenset(name for name, kind in Image.EXTENSION.items() if kind in FORMATS)


def _unknown(prefix: bytes) -> str | None:
    """None for the first bytes of one of FORMATS; otherwise what they seem to be instead."""
    if not prefix:
        return "no image: empty"
    if prefix[4:8] == b"ftyp" and prefix[8:12] in HEIC_BRANDS:
        return "no image that is read here, but HEIC: convert it to JPEG or PNG"
    for name in FORMATS:
        accept = Image.OPEN[name][1]
        answer = accept is None or accept(prefix)
        if isinstance(answer, str):
            return f"no image that is read here, but {name}: this Pillow comes without it"
        if answer:
            return None
    return "no image"


def _prefix(path: Path) -> bytes:
    with open_regular(path) as file:
        return file.read(PREFIX)


def _content(path: Path) -> bytes:
    try:
        return read_regular(path, LARGEST_FILE)
    except ValueError as error:
        raise UnreadableImageError(str(error)) from error


def _decoded(content: bytes, shortest_side: int | None) -> Pixels:
    """Pixels of a file's content; anything may be raised where that is at fault."""
    memory = DECODER_MEMORY * LARGEST_IMAGE // 4  # until the size is known
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            memory = DECODER_MEMORY * min(image.width * image.height, LARGEST_IMAGE)
            return _pixels(image, shortest_side)
    except UnidentifiedImageError:
        raise
    except Exception:
        # Some decoders call it damage when they get no memory. What fails with memory to spare,
        # and a second time, is damaged.
        np.empty(SPARE_MEMORY + len(content) + memory, np.uint8)
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            return _pixels(image, shortest_side)


def _pixels(image: Image.Image, shortest_side: int | None) -> Pixels:
    width, height = image.size
    _check_size(width, height)
    if shortest_side is None:
        pixels = _rgb(image)
    else:
        scale = shortest_side / min(width, height)
        size = round(width * scale), round(height * scale)
        _check_size(*size)  # of one row and 10,000 columns, say
        if width % JPEG_BLOCK == height % JPEG_BLOCK == 0:
            image.draft(None, (SHARPNESS * shortest_side,) * 2)
        pixels = _rgb(image).resize(size, Image.Resampling.BILINEAR)
    if (orientation := _orientation(image)) in UPRIGHT:
        pixels = pixels.transpose(UPRIGHT[orientation])
    return np.asarray(pixels)


def _check_size(width: int, height: int) -> None:
    if not 0 < width * height <= LARGEST_IMAGE:
        bound = f"at most {LARGEST_IMAGE:,}" if width * height else "at least one"
        raise ValueError(f"{width} x {height} pixels, expected {bound}")


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("pixels are floating-point numbers, of no known range")
    if image.mode.startswith("I"):  # 16 bits; Pillow would cut off what is above 255
        values = np.asarray(image).clip(0, 2**16 - 1)
        image = Image.fromarray((values >> 8).astype(np.uint8))
    elif image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        over = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", over.size, "white"), over)
    return image.convert("RGB")


def _orientation(image: Image.Image) -> int | None:
    try:
        return image.getexif().get(ORIENTATION_TAG)
    except Exception:  # Exif data are often damaged where the image is not
        return None
