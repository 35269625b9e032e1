"""One docstring for the functions of several implementations."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def documented_as(namesake: Callable[..., object]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Give a function the docstring of the reference operator that it implements."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        function.__doc__ = namesake.__doc__
        return function

    return decorate


def documented_with(
    namesake: Callable[..., object], parameter: str
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Give a function the docstring of the reference operator, with `parameter` before `out`."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        before, out, after = (namesake.__doc__ or "").partition("    out : ")
        function.__doc__ = before + parameter + out + after
        return function

    return decorate
