"""Learning rates over a run."""

from __future__ import annotations

import pytest

from alexnet.training.schedules import SCHEDULES, Schedule


def rates(schedule: Schedule) -> list[float]:
    return [schedule(step) for step in range(schedule.steps)]


def test_constant() -> None:
    assert rates(Schedule("constant", 0.5, 4)) == [0.5] * 4


def test_step_divides_by_ten_twice() -> None:
    expected = [1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.01, 0.01]
    assert rates(Schedule("step", 1.0, 8)) == pytest.approx(expected)


def test_cosine_falls_from_the_rate_to_nothing() -> None:
    schedule = Schedule("cosine", 2.0, 100)
    assert schedule(0) == 2.0
    assert schedule(50) == pytest.approx(1.0)
    assert schedule(25) == pytest.approx(1 + 0.5**0.5)
    assert 0 < schedule(99) < 0.001
    assert rates(schedule) == sorted(rates(schedule), reverse=True)


@pytest.mark.parametrize("kind", SCHEDULES)
def test_warm_up_rises_in_equal_parts_and_is_followed_by_the_rest(kind: str) -> None:
    schedule = Schedule(kind, 0.4, 12, warm_up=4)
    assert rates(schedule)[:4] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert rates(schedule)[4:] == rates(Schedule(kind, 0.4, 8))


@pytest.mark.parametrize("kind", SCHEDULES)
def test_steps_beyond_the_end_have_the_last_rate(kind: str) -> None:
    schedule = Schedule(kind, 1.0, 10, warm_up=2)
    assert schedule(10) == schedule(1000) == schedule(9)
    assert Schedule(kind, 1.0, 3, warm_up=5)(2) == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("linear", 0.1, 5), "kind is 'linear', expected constant, step, cosine"),
        (("step", 0.0, 5), r"learning_rate is 0.0, expected a finite number > 0"),
        (("step", 0.1, 0), "steps is 0, expected an integer from 1"),
        (("step", 0.1, 5, -1), "warm_up is -1, expected an integer from 0"),
    ],
)
def test_bad_arguments(arguments: tuple[str, float, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Schedule(*arguments)
