"""Strides, paddings and windows of every size, and memory that runs out.

Memory and work go with what is there: x, y and the weights. What padding and strides alone make
large is never made. Where memory is short the answer is MemoryError: never the end of the process.
"""

from __future__ import annotations

import itertools
import random
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import alexnet
from alexnet import cpu
from alexnet.contract.arguments import LARGEST_SIZE
from alexnet.contract.shapes import Conv2dShape, Pool2dShape, conv2d_shape, pool2d_shape
from alexnet.network.layers import Conv2d, Flatten, MaxPool2d
from alexnet.network.variant import Variant
from alexnet.random import Generator
from alexnet.verification import odd_shapes
from support.arrays import random_array, relative_error

ALGORITHMS = ("auto", *cpu.conv2d_algorithms())
Array = npt.NDArray[np.float32]
MEBIBYTE = 1 << 20


# --- limits -------------------------------------------------------------------------------------


def in_another_process(function: Callable[..., None], *arguments: object) -> None:
    """Call a function of this module where it may end the process or limit its memory."""
    code = f"import test_sizes; test_sizes.{function.__name__}(*{arguments!r})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-4000:])


@contextmanager
def limited_memory(more: int) -> Iterator[None]:
    """Let the process have `more` bytes of address space beside what it has now."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


# --- convolutions: the taps that lie on the image, one by one -----------------------------------


def taps(size: int, out: int, kernel: int, stride: int, pad: int) -> list[tuple[int, int, int]]:
    """(output, tap, input) along one axis, for all taps on the image."""
    return [
        (o, i + pad - o * stride, i)
        for o in range(out)
        for i in range(max(0, o * stride - pad), min(size, o * stride - pad + kernel))
    ]


class Convolution:
    """Random data of a shape, and the results of all directions in float64."""

    def __init__(self, s: Conv2dShape) -> None:
        self.x = random_array(1, *s.input_shape)
        self.weight = random_array(2, *s.weight_shape)
        self.bias = random_array(3, s.out_channels)
        self.dy = random_array(4, *s.output_shape)
        x, weight, dy = (array.astype(np.float64) for array in (self.x, self.weight, self.dy))
        y = np.broadcast_to(self.bias, s.output_shape).astype(np.float64)
        dx, dweight = np.zeros(s.input_shape), np.zeros(s.weight_shape)
        ins, outs = s.in_channels // s.groups, s.out_channels // s.groups
        down = taps(s.in_height, s.out_height, s.kernel_height, s.stride_height, s.pad_top)
        across = taps(s.in_width, s.out_width, s.kernel_width, s.stride_width, s.pad_left)
        for (oh, kh, ih), (ow, kw, iw) in itertools.product(down, across):
            for g in range(s.groups):
                i, o = slice(g * ins, (g + 1) * ins), slice(g * outs, (g + 1) * outs)
                y[:, oh, ow, o] += x[:, ih, iw, i] @ weight[kh, kw, :, o]
                dx[:, ih, iw, i] += dy[:, oh, ow, o] @ weight[kh, kw, :, o].T
                dweight[kh, kw, :, o] += x[:, ih, iw, i].T @ dy[:, oh, ow, o]
        self.expected = {"y": y, "dx": dx, "dweight": dweight, "dbias": dy.sum(axis=(0, 1, 2))}

    def results(self, algorithm: str, **how: Any) -> Iterator[tuple[str, Array]]:
        """Name and value of what an algorithm makes, as far as it can serve the shape."""
        how["algorithm"] = algorithm
        shape, kernel = self.x.shape, self.weight.shape[:2]
        for names, call in (
            (("y",), lambda: (cpu.conv2d(self.x, self.weight, self.bias, **how),)),
            (
                ("dx",),
                lambda: (cpu.conv2d_backward_input(self.dy, self.weight, shape, **how),),
            ),
            (
                ("dweight", "dbias"),
                lambda: cpu.conv2d_backward_weight(self.dy, self.x, kernel, **how),
            ),
        ):
            try:
                yield from zip(names, call(), strict=True)
            except ValueError as error:
                if algorithm != "winograd" or "cannot serve" not in str(error):
                    raise


def check_convolution(x: tuple[int, ...], weight: tuple[int, ...], **how: Any) -> None:
    shape = conv2d_shape("conv2d", x, weight, how["stride"], how["padding"], how.get("groups", 1))
    data = Convolution(shape)
    for algorithm in ALGORITHMS:
        for name, result in data.results(algorithm, **how):
            expected = data.expected[name]
            # Winograd's error, of its transforms, and sums of few products that may cancel.
            error = relative_error(result, expected) if expected.any() else np.abs(result).max()
            assert error < 3e-5, (algorithm, name, x, weight, how, error)


LARGE_STEPS = (5, 7, 40, 1000, 1 << 20, LARGEST_SIZE - 1, LARGEST_SIZE)


def random_convolution(draw: random.Random) -> tuple[Any, ...] | None:
    """Shapes of x and weight and the options, small in what is there; None where none fits."""

    def axis() -> tuple[int, int, int, tuple[int, int]]:
        size, kernel = draw.randint(1, 9), draw.choice((1, 2, 3, 5, 11, 40))
        stride = draw.choice((1, 1, 2, 3, *LARGE_STEPS))
        most = min(LARGEST_SIZE, max(kernel, draw.choice((2, 30)) * stride))
        pads = [draw.choice((0, 1, kernel - 1, kernel, most, draw.randint(0, most))) for _ in "12"]
        return size, kernel, stride, (pads[0], pads[1])

    (height, kernel_height, *down), (width, kernel_width, *across) = axis(), axis()
    groups = draw.choice((1, 1, 2))
    ins, features = draw.randint(1, 40) * groups, draw.randint(1, 20) * groups
    x = (draw.randint(1, 5), height, width, ins)
    weight = (kernel_height, kernel_width, ins // groups, features)
    how = {"stride": (down[0], across[0]), "padding": (down[1], across[1]), "groups": groups}
    try:
        s = conv2d_shape("conv2d", x, weight, **how)
    except ValueError:  # the kernel exceeds the padded image
        return None
    return (x, weight, how) if s.out_height * s.out_width <= 1000 else None


def check_random_convolutions(seed: int, count: int) -> None:
    draw = random.Random(seed)
    cases = filter(None, (random_convolution(draw) for _ in itertools.count()))
    cpu.relu(random_array(0, 1 << 20))  # the threads are there
    with limited_memory(256 * MEBIBYTE):
        for x, weight, how in itertools.islice(cases, count):
            check_convolution(x, weight, **how)


@pytest.mark.parametrize("seed", range(3))
def test_convolutions_take_memory_for_what_is_there_alone(seed: int) -> None:
    in_another_process(check_random_convolutions, seed, 60)


LIMIT = LARGEST_SIZE


# x, weight, stride, padding
LARGE_CONVOLUTIONS: tuple[tuple[Any, ...], ...] = (
    ((1, 1, 1, 1), (1, 1, 1, 1), LIMIT, ((0, LIMIT), (0, LIMIT))),  # a frame of 2^62 floats
    ((1, 2, 2, 4), (2, 2, 4, 1), LIMIT - 1, 2**30 - 1),
    ((1, 2, 2, 4), (2, 2, 4, 1), LIMIT, LIMIT),
    ((2, 8, 8, 256), (3, 3, 256, 4), 1000, 1000),
    ((1, 8, 8, 4), (3, 3, 4, 4), LIMIT - 1, 0),  # as many phases, of which 8 have pixels
    ((1, 3, 3, 256), (3, 3, 256, 1), 1, 150),  # mostly padding, with a stride of 1
    ((1, 1, 1, 2), (80, 80, 2, 1), 1, 79),  # one tap of each window on the image
    ((1, 3000, 1, 8), (1, 3000, 8, 1), 1, ((0, 0), (0, 2999))),  # a column under one tap
    ((600, 1, 1, 1), (99, 99, 1, 1), 1, 49),  # large frames of many small images
    ((1, 400, 1, 1), (3, 2, 1, 1), (1, 2**30), ((1, 1), (2**30, 2**30))),
)


def check_large_convolutions() -> None:
    cpu.relu(random_array(0, 1 << 20))  # the threads are there
    for x, weight, stride, padding in LARGE_CONVOLUTIONS:
        with limited_memory(64 * MEBIBYTE):
            check_convolution(x, weight, stride=stride, padding=padding)


def test_convolutions_that_padding_or_strides_alone_make_large() -> None:
    in_another_process(check_large_convolutions)


def check_many_windows() -> None:
    """The windows of an image would take 44 MiB as columns; im2col copies some at a time."""
    shape = (1, 30, 120, 128)
    x, weight, dy = random_array(1, *shape), random_array(2, 5, 5, 128, 5), random_array(3, *shape)
    dy = dy[..., :5].copy()
    calls: tuple[Callable[[str], Any], ...] = (
        lambda algorithm: cpu.conv2d(x, weight, algorithm=algorithm),
        lambda algorithm: cpu.conv2d_backward_input(dy, weight, shape, algorithm=algorithm),
        lambda algorithm: cpu.conv2d_backward_weight(dy, x, 5, algorithm=algorithm)[0],
    )
    cpu.relu(x)  # the threads are there
    for call in calls:
        with limited_memory(36 * MEBIBYTE):
            result = call("im2col")
        assert relative_error(result, call("direct")) < 1e-6


def test_im2col_copies_some_of_the_windows_at_a_time() -> None:
    in_another_process(check_many_windows)


def test_outputs_that_see_only_padding_are_the_bias_after_its_activation() -> None:
    x, weight, bias = random_array(1, 1, 2, 2, 8), random_array(2, 3, 3, 8, 2), np.float32([2, -2])
    for algorithm in ALGORITHMS:
        if algorithm == "winograd":
            continue  # it serves no stride as large as the kernel
        y = cpu.conv2d(
            x, weight, bias, stride=900, padding=900, activation="relu", algorithm=algorithm
        )
        assert y.shape[1:3] == (2, 2)
        np.testing.assert_array_equal(y[0, 0, 0], [2, 0])


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_bits_do_not_depend_on_threads_where_padding_is_left_out(threads: int) -> None:
    x, weight = random_array(1, 5, 7, 9, 33), random_array(2, 3, 5, 33, 17)
    alexnet.set_num_threads(1)
    alone = cpu.conv2d(x, weight, stride=700, padding=701)
    alexnet.set_num_threads(threads)
    np.testing.assert_array_equal(cpu.conv2d(x, weight, stride=700, padding=701), alone)


# --- pooling ------------------------------------------------------------------------------------


def pooled(x: Array, dy: Array, s: Pool2dShape) -> tuple[Array, npt.NDArray[np.float64]]:
    """The maxima, and dy at the first of each, from the windows cut to the image."""

    def windows(size: int, out: int, window: int, stride: int, pad: int) -> list[tuple[int, int]]:
        starts = (o * stride - pad for o in range(out))
        return [(max(0, start), min(size, start + window)) for start in starts]

    y, dx = np.zeros(s.output_shape, np.float32), np.zeros(s.input_shape)
    down = windows(s.in_height, s.out_height, s.window_height, s.stride_height, s.pad_top)
    across = windows(s.in_width, s.out_width, s.window_width, s.stride_width, s.pad_left)
    for (oh, rows), (ow, columns) in itertools.product(enumerate(down), enumerate(across)):
        part = x[:, slice(*rows), slice(*columns)]
        y[:, oh, ow] = part.max(axis=(1, 2))
        first = part.reshape(part.shape[0], -1, part.shape[3]).argmax(axis=1)
        for n, c in np.ndindex(first.shape):
            h, w = divmod(int(first[n, c]), columns[1] - columns[0])
            dx[n, rows[0] + h, columns[0] + w, c] += dy[n, oh, ow, c]
    return y, dx


def random_pooling(draw: random.Random) -> tuple[tuple[int, ...], dict[str, Any], Pool2dShape]:
    while True:
        x = (draw.randint(1, 3), draw.randint(1, 9), draw.randint(1, 9), draw.randint(1, 20))
        windows = [draw.choice((1, 2, 3, 9, *LARGE_STEPS)) for _ in "hw"]
        pads = [
            tuple(draw.choice((0, 1, w - 1, draw.randint(0, w - 1))) for _ in "12") for w in windows
        ]
        how: dict[str, Any] = {
            "window": tuple(windows),
            "stride": tuple(draw.choice((1, 2, 3, *LARGE_STEPS)) for _ in "hw"),
            "padding": tuple(pads),
            "ceil_mode": draw.random() < 0.3,
        }
        try:
            s = pool2d_shape("max_pool2d", x, *how.values())
        except ValueError:
            continue
        if s.out_height * s.out_width <= 1000:
            return x, how, s


def check_random_poolings(count: int) -> None:
    draw = random.Random(0)
    cpu.relu(random_array(0, 1 << 20))  # the threads are there
    with limited_memory(64 * MEBIBYTE):
        for _ in range(count):
            x_shape, how, s = random_pooling(draw)
            x, dy = random_array(1, *x_shape), random_array(2, *s.output_shape)
            y, dx = pooled(x, dy, s)
            np.testing.assert_array_equal(cpu.max_pool2d(x, **how), y, str(how))
            slope = cpu.max_pool2d_backward(dy, x, **how)
            np.testing.assert_allclose(slope, dx, rtol=1e-4, atol=1e-4, err_msg=str(how))


def test_pooling_takes_memory_for_what_is_there_alone() -> None:
    in_another_process(check_random_poolings, 150)


def check_thin_layer() -> None:
    """A dense layer of one input: what is packed of x is no row of a whole block."""
    x, weight = random_array(1, 1 << 19, 1), random_array(2, 1, 1)
    cpu.relu(x)
    with limited_memory(160 * MEBIBYTE):
        y = cpu.dense(x, weight)
    np.testing.assert_array_equal(y, x * weight)


def test_a_dense_layer_of_one_input_takes_memory_in_proportion_to_it() -> None:
    in_another_process(check_thin_layer)


# --- more than there is -------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1 << 20, 1 << 24, LARGEST_SIZE])
def test_a_result_larger_than_any_memory_is_a_memory_error(size: int) -> None:
    one = np.ones((1, 1, 1, 1), np.float32)
    pad = size // 2
    for call in (
        lambda: cpu.conv2d(one, one, padding=pad),
        lambda: cpu.conv2d_backward_input(
            np.ones((1, 1, 1, 1), np.float32), one, (1, size, size, 1), stride=size
        ),
        lambda: cpu.conv2d_backward_weight(one, one, size, stride=size, padding=pad),
        lambda: cpu.max_pool2d(one, window=size, padding=size - 1, stride=1),
    ):
        with pytest.raises(MemoryError, match="array of shape"):
            call()


def stored(variant: Variant) -> Variant:
    return Variant.from_json(variant.to_json())


def test_a_network_with_the_largest_stride_computes_and_says_its_shapes(tmp_path: Path) -> None:
    far = ((0, LARGEST_SIZE), (0, LARGEST_SIZE))
    layers = (
        Conv2d("conv1", features=3, kernel_size=1, stride=LARGEST_SIZE, padding=far),
        MaxPool2d("pool1", window=LARGEST_SIZE, stride=LARGEST_SIZE, padding=LARGEST_SIZE - 1),
        Flatten("flat"),
    )
    network = alexnet.AlexNet(stored(Variant("far", "", (4, 4, 2), layers)))
    path = tmp_path / "far.safetensors"
    network.save(path)
    loaded = alexnet.load(path)
    assert "conv1" in str(loaded.summary(batch_size=2))
    x = random_array(1, 2, 4, 4, 2)
    np.testing.assert_array_equal(loaded.forward(x, training=True), network.forward(x))
    loaded.backward(np.ones_like(network.forward(x)))
    assert np.isfinite(loaded.gradients["conv1.weight"]).all()


# --- memory that runs out -----------------------------------------------------------------------


def in_a_new_thread(function: Callable[[], None]) -> None:
    """Working memory is the calling thread's: a new one has none yet."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except BaseException as error:  # raised again, in the thread that waits
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def larger_calls() -> Iterator[odd_shapes.Call]:
    x, weight = random_array(1, 4, 13, 13, 48), random_array(2, 3, 3, 48, 64)
    dy = random_array(3, 4, 13, 13, 64)
    yield odd_shapes.Call("conv2d", "large", (x, weight))
    yield odd_shapes.Call("conv2d_backward_input", "large", (dy, weight, x.shape))
    yield odd_shapes.Call("conv2d_backward_weight", "large", (dy, x, 3))
    yield odd_shapes.Call("max_pool2d_backward", "large", (random_array(4, 4, 6, 6, 48), x))
    yield odd_shapes.Call("lrn_backward", "large", (x, x))
    x, weight, dy = random_array(1, 64, 2000), random_array(2, 2000, 300), random_array(3, 64, 300)
    yield odd_shapes.Call("dense", "large", (x, weight))
    yield odd_shapes.Call("dense_backward_input", "large", (dy, weight))
    yield odd_shapes.Call("dense_backward_weight", "large", (dy, x))


def every_call() -> Iterator[tuple[str, Callable[[], Any]]]:
    """Every operator on small and on larger shapes, convolutions by every algorithm."""
    for call in (*odd_shapes.calls(Generator(0)), *larger_calls()):
        choices = [call.options]
        if call.operator.startswith("conv2d"):
            choices = [call.options | {"algorithm": name} for name in ALGORITHMS]
        for options in choices:

            def run(call: odd_shapes.Call = call, options: dict[str, Any] = options) -> Any:
                updated = call.operator.endswith("_update")
                arguments = [np.array(a) if updated else a for a in call.arguments]
                result = getattr(cpu, call.operator)(*arguments, **options)
                return arguments[0] if updated else result

            try:
                run()
            except ValueError as error:
                if "cannot serve" not in str(error):
                    raise
                continue
            yield f"{call.operator} {call.case} {options}", run


def check_short_memory(threads: int) -> None:
    """Every operator, with less and less memory beside what the process has."""
    alexnet.set_num_threads(threads)
    x = random_array(0, 1 << 16)
    failed = 0

    def check(name: str, run: Callable[[], Any], expected: Any, more: int) -> None:
        nonlocal failed
        cpu.relu(x)  # makes the team of this thread
        try:
            with limited_memory(more):
                result = run()
        except MemoryError:
            failed += 1
            return
        for one, other in zip(as_tuple(result), as_tuple(expected), strict=True):
            np.testing.assert_array_equal(one, other, name)

    for name, run in every_call():
        expected = run()
        for more in (0, 1 << 18, 1 << 22):
            in_a_new_thread(lambda: check(name, run, expected, more))  # noqa: B023 - called at once
    assert failed > 0


def as_tuple(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)


@pytest.mark.parametrize("threads", [1, 2])
def test_short_memory_gives_the_result_or_memory_error(threads: int) -> None:
    in_another_process(check_short_memory, threads)


def check_full_memory() -> None:
    """The second call of a shape has its working memory, so what it allocates is in the heap."""
    alexnet.set_num_threads(2)
    x, dy = random_array(1, 8, 6, 5, 4), random_array(2, 8, 6, 5, 4)
    for kernel in (3, 40):  # few weights, which parts of the images have each, and many
        out = np.zeros((kernel, kernel, 4, 4), np.float32), np.zeros(4, np.float32)
        pad = kernel // 2

        def call(kernel: int = kernel, pad: int = pad, out: Any = out) -> None:
            padding = ((pad, kernel - 1 - pad),) * 2
            cpu.conv2d_backward_weight(dy, x, kernel, padding=padding, algorithm="direct", out=out)

        call()
        with limited_memory(0):
            held: list[bytearray] = []
            for size in (1 << 16, 1 << 12, 1 << 10, 600):
                with suppress(MemoryError):
                    while True:
                        held.append(bytearray(size))
            with suppress(MemoryError):
                call()
            held.clear()


def test_nothing_is_allocated_while_threads_compute() -> None:
    in_another_process(check_full_memory)
