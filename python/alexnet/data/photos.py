"""One image file to RGB pixels, whatever its format, colours and orientation.

Only the formats below are tried, by content: Pillow would hand others, PostScript for one, to
programs that run what the file says.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from alexnet.data.sources import Pixels, UnreadableImageError
from alexnet.files import open_regular

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
LARGEST_IMAGE = 2**26  # pixels; 200 MB in memory as RGB
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
    pixels that a new one covers); a JPEG is then decoded at a fraction of its size if that will do.

    Raises
    ------
    OSError
        The file cannot be opened.
    UnreadableImageError
        It is no regular file, no image of the formats known here, cut short, damaged or larger
        than 2**26 pixels.
    """
    path = Path(path)
    try:
        opened = open_regular(path)
    except ValueError as error:
        raise UnreadableImageError(str(error)) from error
    with opened as file:
        try:
            with Image.open(file, formats=FORMATS) as image:
                return _pixels(image, shortest_side)
        except Exception as error:  # of a damaged file, Pillow's decoders raise anything
            reason = "no image" if isinstance(error, UnidentifiedImageError) else str(error)
            raise UnreadableImageError(f"{path}: {reason or type(error).__name__}") from error


def _pixels(image: Image.Image, shortest_side: int | None) -> Pixels:
    width, height = image.size
    _check_size(width, height)
    if shortest_side is not None:
        image.draft(None, (shortest_side, shortest_side))
        scale = shortest_side / min(width, height)
        width, height = round(width * scale), round(height * scale)
        _check_size(width, height)  # of one row and 10,000 columns, say
    pixels = _rgb(image)
    if shortest_side is not None:
        pixels = pixels.resize((width, height), Image.Resampling.BILINEAR)
    if (orientation := _orientation(image)) in UPRIGHT:
        pixels = pixels.transpose(UPRIGHT[orientation])
    return np.asarray(pixels)


def _check_size(width: int, height: int) -> None:
    if width * height > LARGEST_IMAGE:
        raise ValueError(f"{width} x {height} pixels, expected at most {LARGEST_IMAGE:,}")


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
