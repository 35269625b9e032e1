"""What the emulation of Hopper does, with known answers, and the faults that it has to find."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest

from cuda_emulation import load

Array = npt.NDArray[np.float32]

SEEDS = range(5)  # orders in which the threads run; a fault has to show in each

TF32, BFLOAT16, FLOAT16 = range(3)
SPANS = (0, 32, 64, 128)  # bytes that a swizzle permutes, by the number of a tensor map's swizzle
MODES = {0: 0, 32: 3, 64: 2, 128: 1}  # the number that a matrix descriptor has for it

# As in hopper_faults.cu.
FAULTS = (
    "none",
    "wrong phase",
    "no wait for the stage",
    "no wait for room",
    "early release",
    "too few bytes",
    "too many bytes",
    "no release",
    "no fence of the barriers",
    "no fence of the products",
    "no wait for the products",
    "registers changed",
    "wrong stride",
    "wrong swizzle in the descriptor",
    "a warp missing",
    "unaligned target",
    # Of 16 bits alone.
    "wrong leading offset",
    "wrong order",
    "wrong advance",
)
# By message where the launch fails whatever the order; the others are seen in the result or by one
# of the messages.
MESSAGES = {
    "too many bytes": "the end of an mbarrier's phase",
    "no release": "the end of an mbarrier's phase",
    "no fence of the barriers": "initialisation was not fenced",
    "no fence of the products": "without wgmma_fence",
    "registers changed": "registers of a warpgroup's product changed",
    "a warp missing": "not all threads of a warpgroup call its products",
    "unaligned target": "not aligned to eight of the swizzle's spans",
}
OF_16_BITS = FAULTS[-3:]
OTHERS = [name for name in FAULTS[1:-3] if name not in MESSAGES]


@pytest.fixture(scope="module")
def hopper() -> ModuleType:
    path = load.beside("_cuda_hopper")
    return load.import_from("_cuda_hopper", path)


def random(seed: int, *shape: int) -> Array:
    """An array whose data begin at a multiple of 16 bytes."""
    values = np.random.default_rng(seed).integers(-8, 8, shape)
    memory = np.zeros(values.size + 4, np.float32)
    first = -memory.ctypes.data // 4 % 4
    memory[first : first + values.size] = values.ravel()
    return memory[first : first + values.size].reshape(shape)


def permuted(rows: npt.NDArray[np.uint8], span: int) -> npt.NDArray[np.uint8]:
    """Rows of `span` bytes as a swizzle puts them: 16 bytes at a time, chunk i of row r, counted in
    128 bytes, at chunk i xor r."""
    if span == 0:
        return rows
    chunks = rows.reshape(-1, span // 16, 16)
    result = np.empty_like(chunks)
    for r, row in enumerate(chunks):
        for i, chunk in enumerate(row):
            result[r, i ^ r * span // 128 % (span // 16)] = chunk
    return result.reshape(rows.shape)


# --- copies of tensors ----------------------------------------------------------------------------


@pytest.mark.parametrize("swizzle", range(4))
@pytest.mark.parametrize(("column", "row"), [(0, 0), (8, 3), (16, 5), (-4, -3)])
def test_a_box_of_a_matrix(hopper: ModuleType, swizzle: int, column: int, row: int) -> None:
    x, rows, columns = random(1, 20, 36), 16, (SPANS[swizzle] or 48) // 4
    padded = np.pad(x, 64)
    expected = padded[64 + row :, 64 + column :][:rows, :columns].copy()
    found = hopper.copy_matrix(x, rows, columns, swizzle, column, row)
    laid = permuted(expected.view(np.uint8), SPANS[swizzle])
    np.testing.assert_array_equal(found, laid.ravel())


@pytest.mark.parametrize("column", [1, 2, -3])
def test_a_box_begins_at_multiples_of_16_bytes(hopper: ModuleType, column: int) -> None:
    """Elsewhere a device says "illegal instruction", though the driver makes the map."""
    with pytest.raises(RuntimeError, match="at no multiple of 16 bytes of its rows"):
        hopper.copy_matrix(random(1, 20, 36), 16, 32, 3, column, 0)
    hopper.copy_matrix(random(1, 20, 36), 16, 32, 3, 0, 0)


@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 1)])
@pytest.mark.parametrize("first", [0, 7, 25])
def test_windows_of_images(hopper: ModuleType, stride: tuple[int, int], first: int) -> None:
    """The pixels under tap (2, 1) of 3 x 2 windows with padding, from window `first` on."""
    x, kernel, pads, pixels = random(2, 2, 5, 6, 12), (3, 2), ((1, 2), (2, 0)), 24
    padded = np.pad(x, ((0, 0), *pads, (0, 0)))
    down, right = 2, 1
    grid = [(n - k) // s + 1 for n, k, s in zip(padded.shape[1:3], kernel, stride, strict=True)]
    taps = padded[:, down:, right:][:, :: stride[0], :: stride[1]][:, : grid[0], : grid[1]]
    expected = np.zeros((first + pixels + taps[..., 0].size, 8), np.float32)
    expected[: taps[..., 0].size] = taps[..., 4:].reshape(-1, 8)
    image, window = divmod(first, grid[0] * grid[1])
    i, j = divmod(window, grid[1])
    found = hopper.copy_windows(
        x,
        [-pads[1][0], -pads[0][0]],
        [pads[1][1] - (kernel[1] - 1), pads[0][1] - (kernel[0] - 1)],
        [stride[1], stride[0]],
        8,
        pixels,
        [4, j * stride[1] - pads[1][0], i * stride[0] - pads[0][0], image],
        [right, down],
    )
    np.testing.assert_array_equal(
        found.view(np.float32).reshape(-1, 8), expected[first : first + pixels]
    )


@pytest.mark.parametrize(
    ("columns", "box"),
    [(35, 32), (36, 33), (36, 6)],  # rows 140 bytes apart; 132 bytes of 128; 24 bytes
)
def test_maps_that_the_driver_refuses(hopper: ModuleType, columns: int, box: int) -> None:
    with pytest.raises(ValueError, match="no such map"):
        hopper.copy_matrix(random(1, 8, columns), 8, box, 3, 0, 0)


# --- products of warpgroups -----------------------------------------------------------------------


def bits_of(x: Array, kind: int) -> npt.NDArray[np.uint8]:
    """Small integers in the given type, a row of bytes for each row."""
    if kind == FLOAT16:
        return x.astype(np.float16).view(np.uint8)
    if kind == BFLOAT16:
        return (x.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
    return x.view(np.uint8)


def laid_out(x: Array, kind: int, span: int, *, along_depth: bool = True) -> bytes:
    """Rows of 32 bytes of depths in the canonical layout of a swizzle.

    With neighbours along the depth (K-major), eight rows in a group; or across it (MN-major), as
    many as a span has bytes for, in a group of eight depths.
    """
    if along_depth:
        rows = bits_of(x, kind)
        if span == 0:  # two core matrices of 8 x 16 bytes
            return rows.reshape(-1, 8, 2, 16).transpose(0, 2, 1, 3).tobytes()
        wide = np.zeros((len(rows), span), np.uint8)
        wide[:, :32] = rows
        return permuted(wide, span).tobytes()
    across = (span or 16) // 2
    padded = np.zeros((-(-len(x) // across) * across, x.shape[1]), np.float32)
    padded[: len(x)] = x
    columns = bits_of(np.ascontiguousarray(padded.T), kind)  # a row for each depth
    groups = columns.reshape(2, 8, -1, 2 * across).transpose(2, 0, 1, 3)  # rows, depths: 8 by 8
    return permuted(np.ascontiguousarray(groups).reshape(-1, 2 * across), span).tobytes()


def descriptor(start: int, span: int, *, along_depth: bool = True) -> int:
    """Start address, leading and stride byte offset, all / 16, and the mode."""
    if along_depth:
        leading, stride = (128, 256) if span == 0 else (16, 8 * span)
    else:
        leading, stride = (128, 256) if span == 0 else (16 * span, 8 * span)
    return start >> 4 | (leading >> 4) << 16 | (stride >> 4) << 32 | MODES[span] << 62


def fragments(rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    """A in registers: of each thread rows q and q + 8 of its warp, words c and c + 4."""
    words = rows.view(np.uint32)
    thread = np.arange(128)
    q, c = thread // 32 * 16 + thread % 32 // 4, thread % 4
    return np.stack([words[q, c], words[q + 8, c], words[q, c + 4], words[q + 8, c + 4]], axis=1)


def product(
    hopper: ModuleType,
    kind: int,
    n: int,
    span: int,
    *,
    registers: bool,
    along: tuple[bool, bool] = (True, True),
    wrong: int = 0,
    fenced: bool = True,
) -> tuple[Array, Array]:
    """What one product makes of a matrix of ones, and what it should.

    `along`: whether A and B have their neighbours along the depth.
    """
    depth = 8 if kind == TF32 else 16
    a, b = random(3, 64, depth), random(4, n, depth)
    memory_a = laid_out(a, kind, span, along_depth=along[0])
    memory_a += bytes(-len(memory_a) % 1024)
    start_a = 0 if registers else descriptor(0, span, along_depth=along[0])
    start_b = descriptor(len(memory_a), span, along_depth=along[1]) + wrong
    return hopper.multiply(
        kind,
        n,
        memory_a + laid_out(b, kind, span, along_depth=along[1]),
        (start_a, along[0]),
        (start_b, along[1]),
        fragments(bits_of(a, kind)),
        fenced,
    ), 1 + a @ b.T


@pytest.mark.parametrize("registers", [True, False])
@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize("kind", [TF32, BFLOAT16, FLOAT16])
@pytest.mark.parametrize("n", [8, 96, 256])
def test_products(hopper: ModuleType, kind: int, n: int, span: int, *, registers: bool) -> None:
    found, expected = product(hopper, kind, n, span, registers=registers)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("along", "registers"),
    [
        ((True, False), False),
        ((False, True), False),
        ((False, False), False),
        ((True, False), True),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("n", "span"),
    [(8, 0), (96, 0), (16, 32), (96, 32), (96, 64), (64, 128), (192, 128), (256, 128)],
)
@pytest.mark.parametrize("kind", [BFLOAT16, FLOAT16])
def test_products_with_neighbours_across_the_depth(
    hopper: ModuleType, kind: int, n: int, span: int, along: tuple[bool, bool], *, registers: bool
) -> None:
    found, expected = product(hopper, kind, n, span, registers=registers, along=along)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("n", "span"), [(8, 32), (96, 128), (8, 128)])
def test_parts_of_spans_are_no_canonical_layout(hopper: ModuleType, n: int, span: int) -> None:
    with pytest.raises(RuntimeError, match="is not whole spans of its swizzle"):
        product(hopper, BFLOAT16, n, span, registers=True, along=(True, False))


@pytest.mark.parametrize("span", SPANS[1:])
@pytest.mark.parametrize("along_depth", [True, False])
def test_a_matrix_begins_at_a_pattern(hopper: ModuleType, span: int, *, along_depth: bool) -> None:
    along = (True, along_depth)
    for wrong in (span >> 4, 2 * span >> 4):  # as many bytes / 16
        with pytest.raises(RuntimeError, match="does not begin at a swizzle's pattern"):
            product(hopper, BFLOAT16, 64, span, registers=True, along=along, wrong=wrong)
    with pytest.raises(RuntimeError, match="offsets are not whole patterns"):
        product(hopper, BFLOAT16, 64, span, registers=True, along=along, wrong=(span >> 4) << 32)


def test_columns_are_eights(hopper: ModuleType) -> None:
    for n in (4, 12, 264):
        with pytest.raises(RuntimeError, match="columns of a product are eights"):
            hopper.multiply(
                TF32, n, bytes(1024), (0, True), (descriptor(0, 128), True),
                np.zeros((128, 4), np.uint32), True,
            )  # fmt: skip


def test_tf32_has_depths_side_by_side(hopper: ModuleType) -> None:
    with pytest.raises(RuntimeError, match="tf32 has its depths side by side"):
        hopper.multiply(
            TF32, 8, bytes(4096), (0, True), (descriptor(0, 128), False),
            np.zeros((128, 4), np.uint32), True,
        )  # fmt: skip


@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize("wrong", ["stride", "start", "swizzle"])
def test_a_wrong_descriptor_shows(hopper: ModuleType, span: int, wrong: str) -> None:
    other = {128: -1, 64: -1, 32: -1, 0: 1}[span] << 62
    error = {"stride": -1 << 32, "start": 1, "swizzle": other}[wrong]
    right, message = False, ""
    try:
        found, expected = product(hopper, TF32, 64, span, registers=True, wrong=error)
        right = np.array_equal(found, expected)
    except RuntimeError as failed:
        message = str(failed)
    assert not right
    assert not message or "outside of shared memory" in message or "pattern" in message


def test_tf32_ignores_the_lowest_bits(hopper: ModuleType) -> None:
    ones = np.full((64, 8), 1 + 2.0**-11, np.float32)  # one bit too many
    matrix = descriptor(0, 128), True
    image, registers = laid_out(ones, TF32, 128), fragments(ones.view(np.uint8))
    found = hopper.multiply(TF32, 64, image, (0, True), matrix, registers, True)
    assert (found == 9).all()


# As in hopper_faults.cu, where one warpgroup of three hands registers to the two others.
HAND_OVERS = {
    "none": "",
    "kept": "more registers than it was launched with",
    "raised to fewer": "raises its registers to fewer than it has",
    "by a part of a warpgroup": "not all threads of a warpgroup set its registers",
}


@pytest.mark.parametrize("fault", HAND_OVERS)
def test_registers_handed_over(hopper: ModuleType, fault: str) -> None:
    number = list(HAND_OVERS).index(fault)
    if fault == "none":
        hopper.hand_over(number)
        return
    with pytest.raises(RuntimeError, match=HAND_OVERS[fault]):
        hopper.hand_over(number)


def test_ordinary_writes_need_a_fence(hopper: ModuleType) -> None:
    found, _ = product(hopper, TF32, 64, 128, registers=False, fenced=False)
    assert np.isnan(found).all()


# --- a pipeline, and what can be wrong with it ----------------------------------------------------


def pipeline_is_right(hopper: ModuleType, fault: str, swizzle: int = 3) -> bool:
    a, b = random(5, 64, 132), random(6, 32, 132)
    return np.array_equal(hopper.pipeline(a, b, FAULTS.index(fault), swizzle), a @ b.T)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_sound_pipeline(hopper: ModuleType, seed: int) -> None:
    hopper.set_seed(seed)
    assert pipeline_is_right(hopper, "none")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("fault", MESSAGES)
def test_faults_that_end_the_launch(hopper: ModuleType, fault: str, seed: int) -> None:
    hopper.set_seed(seed)
    with pytest.raises(RuntimeError, match=f"^pipeline: .*{MESSAGES[fault]}"):
        pipeline_is_right(hopper, fault)
    assert pipeline_is_right(hopper, "none"), "a failed launch leaves the next one alone"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("fault", OTHERS)
def test_faults_that_show(hopper: ModuleType, fault: str, seed: int) -> None:
    hopper.set_seed(seed)
    try:
        right = pipeline_is_right(hopper, fault)
    except RuntimeError:
        return
    assert not right


def test_a_map_without_the_swizzle_shows(hopper: ModuleType) -> None:
    assert not pipeline_is_right(hopper, "none", swizzle=0)
    assert not pipeline_of_16_bits_is_right(hopper, "none", swizzle=0)


def of_16_bits(x: Array) -> npt.NDArray[np.uint16]:
    """Small integers as bfloat16, aligned to 16 bytes."""
    memory = np.zeros(x.size + 8, np.uint16)
    first = -memory.ctypes.data // 2 % 8
    memory[first : first + x.size] = x.ravel().view(np.uint32) >> 16
    return memory[first : first + x.size].reshape(x.shape)


def pipeline_of_16_bits_is_right(hopper: ModuleType, fault: str, swizzle: int = 3) -> bool:
    a, b = random(5, 64, 264), random(6, 264, 128)
    found = hopper.pipeline_of_bfloat16(of_16_bits(a), of_16_bits(b), FAULTS.index(fault), swizzle)
    return np.array_equal(found, a @ b)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_sound_pipeline_of_16_bits(hopper: ModuleType, seed: int) -> None:
    hopper.set_seed(seed)
    assert pipeline_of_16_bits_is_right(hopper, "none")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("fault", [*OTHERS, *OF_16_BITS])
def test_faults_of_16_bits_that_show(hopper: ModuleType, fault: str, seed: int) -> None:
    hopper.set_seed(seed)
    try:
        right = pipeline_of_16_bits_is_right(hopper, fault)
    except RuntimeError:
        return
    assert not right
