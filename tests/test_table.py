"""Tables fit the terminal and lose nothing."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len

from alexnet.commands.table import print_table, sentence

HEADER = ("class", "first", "second", "third")
ROWS = [("cat", "1", "22", "333"), ("dog", "4", "5", "6")]


def table(header: tuple[str, ...], rows: list[tuple[str, ...] | str], width: int) -> list[str]:
    file = io.StringIO()
    print_table(file, header, rows, right=range(1, 4), width=width)
    lines = file.getvalue().splitlines()
    assert all(cell_len(line) <= width for line in lines)
    return lines


def test_what_fits_is_one_block() -> None:
    assert table(HEADER, [*ROWS], 80) == [
        "class  first  second  third",
        "cat        1      22    333",
        "dog        4       5      6",
    ]


def test_columns_that_do_not_fit_come_below_beside_the_first_one() -> None:
    assert table(HEADER, [*ROWS], 21) == [
        *("class  first  second", "cat        1      22", "dog        4       5", ""),
        *("class  third", "cat      333", "dog        6"),
    ]


def test_a_heading_is_above_its_rows_in_every_block() -> None:
    lines = table(HEADER, ["of a long name that is folded", *ROWS], 21)
    assert lines[1:3] == ["of a long name that", "  is folded"]
    assert lines[lines.index("") + 2] == "of a long name that"


def test_texts_are_folded_and_wide_letters_counted() -> None:
    rows: list[tuple[str, ...] | str] = [("a", "", "", "words that go on"), ("猫" * 20, "", "", "")]
    file = io.StringIO()
    print_table(file, HEADER, rows, right=(), width=20)
    lines = file.getvalue().splitlines()
    assert all(cell_len(line) <= 20 for line in lines)
    assert "".join(lines).count("猫") == 20
    assert lines[0] == "class       third"
    assert [line[12:].strip() for line in lines[1:4]] == ["words", "that go", "on"]


def test_columns_without_content_are_left_out() -> None:
    assert table(HEADER, [("a", "", "2", ""), ("b", "", "", "")], 80) == [
        *("class  second", "a           2", "b")
    ]
    assert table(HEADER, [], 80) == []
    assert table(("", ""), [("name", "value")], 80) == ["name  value"]


def test_a_sentence_is_broken_between_words_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = "alexnet: error: " + "some words " * 9 + "\x1b"
    file = io.StringIO()
    assert sentence(text, file) == text.replace("\x1b", r"\x1b")
    monkeypatch.setenv("COLUMNS", "47")
    monkeypatch.setattr(file, "isatty", lambda: True)
    lines = sentence(text, file).splitlines()
    assert all(len(line) <= 47 for line in lines)
    assert " ".join(line.strip() for line in lines) == text.replace("\x1b", r"\x1b")
    assert all(line.startswith("  ") for line in lines[1:])
