"""What is in the pictures: lines, labels and colours, and how they reach their files."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from alexnet.figures import LONGEST_NAME, VERMILION, name_on_axis, new_figure, save, styled
from alexnet.training.configuration import Configuration
from alexnet.training.plots import averaged, confusion, curves, filters
from alexnet.training.run import Run
from support import small_runs

INF, NAN = float("inf"), float("nan")


def lines(axes: Axes) -> dict[str, dict[float, float]]:
    """Points of each line of a diagram, by its label."""
    return {
        str(line.get_label()): dict(
            zip(map(float, line.get_xdata()), map(float, line.get_ydata()), strict=True)
        )
        for line in axes.lines
    }


def legend(axes: Axes) -> list[str]:
    drawn = axes.get_legend()
    return [] if drawn is None else [text.get_text() for text in drawn.get_texts()]


def written(figure: Figure, tmp_path: Path) -> Image.Image:
    save(figure, tmp_path / "picture.png")
    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.format == "PNG"
        return picture.convert("RGB")


# --- curves ---------------------------------------------------------------------------------------


def test_curves_have_the_values_names_and_units(tmp_path: Path) -> None:
    train = ({1: 4.0, 2: 2.0, 3: 3.0}, {1: 0.25, 2: 0.5, 3: 0.375})
    figure = curves(train, ({3: 1.0}, {3: 0.75}), "cifar10-bn, to step 3")
    loss, accuracy = figure.axes
    assert lines(loss) == {"training": train[0], "test": {3: 1.0}}
    assert lines(accuracy) == {"training": {1: 25.0, 2: 50.0, 3: 37.5}, "test": {3: 75.0}}
    assert legend(loss) == legend(accuracy) == ["training", "test"]
    assert (loss.get_title(), loss.get_xlabel()) == ("Loss", "step")
    assert (accuracy.get_title(), accuracy.get_ylabel()) == ("Accuracy", "correct, %")
    assert loss.get_ylabel() == "cross-entropy, nats"
    assert figure.get_suptitle() == "cifar10-bn, to step 3"
    assert loss.get_ylim()[0] == 0
    assert accuracy.get_ylim()[1] >= 100
    assert loss.lines[1].get_color() == VERMILION
    assert written(figure, tmp_path).width == 1080


def test_many_steps_are_drawn_pale_and_smoothed() -> None:
    train = {step: float(step % 2) for step in range(1, 601)}
    loss = curves((train, {}), ({}, {}), "").axes[0]
    drawn = lines(loss)
    assert legend(loss) == ["training", "training, smoothed"]
    assert drawn["training"] == train
    assert drawn["training, smoothed"] == dict.fromkeys(range(6, 601, 6), 0.5)
    pale, strong = loss.lines
    assert (pale.get_alpha() or 1.0) < (strong.get_alpha() or 1.0)


def test_means_are_of_equal_runs_but_for_the_last() -> None:
    assert averaged({}) == {}
    assert averaged({5: 2.0}) == {5: 2.0}
    means = averaged({step: float(step) for step in range(201)})
    assert list(means)[:2] == [2, 5]
    assert list(means.values())[-1] == 199.0  # of 198, 199 and 200
    assert len(averaged(dict.fromkeys(range(201), 1.0))) == 67


def test_what_is_not_finite_or_too_large_is_left_out(tmp_path: Path) -> None:
    ruined = {1: 4.0, 2: INF, 3: NAN, 4: -INF, 5: 1.7e308, 6: 1e300}
    figure = curves((ruined, {1: 0.5, 2: NAN}), (ruined, {1: NAN}), "ruined")
    loss, accuracy = figure.axes
    assert lines(loss) == {"training": {1: 4.0, 6: 1e300}, "test": {1: 4.0, 6: 1e300}}
    assert lines(accuracy) == {"training": {1: 50.0}}
    written(figure, tmp_path)


def test_a_run_of_one_step_and_one_of_none_can_be_drawn(tmp_path: Path) -> None:
    figure = curves(({1: 0.0}, {1: 0.0}), ({}, {}), "one")
    assert figure.axes[0].lines[0].get_marker() == "o"
    written(figure, tmp_path)
    figure = curves(({}, {}), ({}, {}), "none")
    assert [len(axes.lines) for axes in figure.axes] == [0, 0]
    assert legend(figure.axes[0]) == []
    written(figure, tmp_path)


# --- filters --------------------------------------------------------------------------------------


def sheet(figure: Figure) -> np.ndarray:
    return np.asarray(figure.axes[0].images[0].get_array())


def test_filters_have_their_colours(tmp_path: Path) -> None:
    weight = np.zeros((2, 2, 3, 5), np.float32)
    weight[:, :, 0, 1] = 2.0  # the largest: pure red over grey
    weight[:, :, :, 2] = -2.0  # black
    weight[:, :, :, 3] = 1.0
    figure = filters(weight, "conv1")
    found = [sheet(figure)[1, 1 + 3 * column].tolist() for column in range(4)]
    assert found == [[0.5, 0.5, 0.5], [1.0, 0.5, 0.5], [0.0, 0.0, 0.0], [0.75, 0.75, 0.75]]
    assert figure.axes[0].get_title() == (
        "conv1: 5 filters of 2 × 2 × 3 (red, green, blue)\ngrey is 0, white 2, black −2"
    )
    written(figure, tmp_path)


def test_filters_without_colours_are_their_mean_in_grey() -> None:
    weight = np.zeros((3, 3, 7, 4), np.float32)
    weight[0, 0, :, 0] = np.arange(7)
    figure = filters(weight, "conv1")
    drawn = sheet(figure)
    assert (drawn == drawn[..., :1]).all()
    assert drawn[1, 1, 0] == 1.0
    assert "mean of 7 channels" in figure.axes[0].get_title()
    assert set(np.unique(sheet(filters(np.zeros((3, 3, 1, 4)), "conv1")))) == {0.5, 1.0}


def test_filters_that_are_not_finite_are_grey() -> None:
    weight = np.zeros((3, 3, 3, 2), np.float32)
    weight[0, 0, 0] = INF, NAN
    weight[1, 1, 1] = 1.0
    drawn = sheet(filters(weight, "conv1"))
    weight[0, 0, 0] = 0.0
    np.testing.assert_array_equal(drawn, sheet(filters(weight, "conv1")))


@pytest.mark.parametrize("size", [(300, 1), (1, 300), (1, 1)])
def test_filters_of_any_shape_can_be_drawn(size: tuple[int, int], tmp_path: Path) -> None:
    picture = written(filters(np.ones((*size, 2, 64)), "conv1"), tmp_path)
    assert picture.width == 960
    assert picture.height < 1600


# --- confusion matrices ---------------------------------------------------------------------------


def test_a_confusion_matrix_has_shares_numbers_and_names(tmp_path: Path) -> None:
    images = np.array([[3, 1], [0, 0]])
    figure = confusion(images, ["cats", "dogs"], "Confusion matrix")
    axes, scale = figure.axes
    assert np.asarray(axes.images[0].get_array()).tolist() == [[75.0, 25.0], [0.0, 0.0]]
    assert [text.get_text() for text in axes.texts] == ["3", "1", "0", "0"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["cats", "dogs"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["cats", "dogs"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert axes.get_title() == "Confusion matrix"
    assert scale.get_ylabel() == "share of the true class, %"
    written(figure, tmp_path)


@pytest.mark.parametrize("classes", [1, 20, 21, 1000])
def test_names_and_numbers_of_images_are_written_for_few_classes(
    classes: int, tmp_path: Path
) -> None:
    figure = confusion(np.eye(classes, dtype=np.int64), ["a"] * classes, "")
    assert len(figure.axes[0].texts) == (classes**2 if classes <= 20 else 0)
    assert (figure.axes[0].get_xlabel() == "predicted class, by number") == (classes > 20)
    picture = written(figure, tmp_path)
    assert max(picture.size) < 1600


NAMES = ("$5", "$a_b$ \\frac{", "猫", "caf\udce9", "x\x1b[31m\n", "y" * 255, "", "\u202e&<")


def test_names_of_any_kind_are_drawn_as_they_are(tmp_path: Path) -> None:
    images = np.eye(len(NAMES), dtype=np.int64)
    figure = confusion(images, NAMES, "$5 \udce9 of \\frac{")
    drawn = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert drawn == [
        *("$5", "$a_b$ \\frac{", "猫", "caf\\udce9", "x\\x1b[31m\\n"),
        *(f"{'y' * 23}…", "", "\\u202e&<"),
    ]
    for ending in (".png", ".svg", ".pdf", ".PNG"):
        save(figure, tmp_path / f"caf\udce9{ending}")
    written(curves(({}, {}), ({}, {}), NAMES[1] + NAMES[3]), tmp_path)
    assert len(name_on_axis("y" * LONGEST_NAME)) == len(name_on_axis("y" * 99)) == LONGEST_NAME


# --- files and settings ---------------------------------------------------------------------------


def empty() -> Figure:
    return curves(({}, {}), ({}, {}), "")


@pytest.mark.parametrize("ending", [".png", ".svg", ".pdf"])
def test_the_same_picture_is_the_same_bytes(ending: str, tmp_path: Path) -> None:
    first, second = tmp_path / f"a{ending}", tmp_path / f"b{ending}"
    save(empty(), first)
    save(empty(), second)
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("name", ["a", "a.jpg", "png", "a.png.gz"])
def test_other_formats_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected a file whose name ends in \.png, \.svg, \.pdf"):
        save(empty(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_the_programs_own_style_is_neither_used_nor_changed(tmp_path: Path) -> None:
    expected = tmp_path / "expected.png"
    save(empty(), expected)
    with matplotlib.rc_context():
        matplotlib.rcParams.update({"font.size": 40, "text.usetex": True, "savefig.dpi": 10})
        before = dict(matplotlib.rcParams)
        save(empty(), tmp_path / "a.png")
        assert dict(matplotlib.rcParams) == before
    assert (tmp_path / "a.png").read_bytes() == expected.read_bytes()


def test_threads_draw_one_after_the_other_and_leave_the_settings() -> None:
    before = dict(matplotlib.rcParams)
    seen: list[float] = []

    @styled()
    def draw() -> None:
        seen.append(matplotlib.rcParams["font.size"])
        empty_axes = new_figure(2, 2).subplots()
        seen.append(empty_axes.title.get_fontsize())

    work: list[Callable[[], None]] = [draw] * 8
    threads = [threading.Thread(target=task) for task in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [12] * 16
    assert dict(matplotlib.rcParams) == before


def test_a_very_tall_picture_is_drawn_with_fewer_dots(tmp_path: Path) -> None:
    assert new_figure(1.0, 1000.0).dpi == 60
    assert new_figure(1.0, 10.0).dpi == 120
    assert written(new_figure(0.1, 1000.0), tmp_path).height == 60_000


# --- of a run -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("every", "times"), [(1e9, 1), (0.0, 4)])
def test_a_run_is_drawn_now_and_then_and_at_its_end(
    every: float, times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[str, dict[str, dict[float, float]]]] = []

    def draw(figure: Figure, path: Path) -> None:
        if path.name == "curves.png":
            drawn.append((figure.get_suptitle(), lines(figure.axes[0])))
        else:
            assert figure.axes[0].get_title().startswith("conv1: ")

    monkeypatch.setattr("alexnet.training.run.PICTURES_EVERY", every)
    monkeypatch.setattr("alexnet.figures.save", draw)
    settings = Configuration(variant="cifar10-bn", steps=4, batch_size=10, checkpoint_every=1)
    run = Run.start(tmp_path / "run", settings, small_runs.dataset())
    run.train()
    run.close()
    assert len(drawn) == times
    title, curve = drawn[-1]
    assert title == f"{run.trainer.network.variant.name}, to step 4: best test accuracy " + (
        f"{run.best_accuracy:.1%}"
    )
    assert curve["training"] == run.metrics.column("loss")
    assert curve["test"] == run.metrics.column("test_loss")
