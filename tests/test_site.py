"""What the site generates: pages of ladders with every rung, drawings, the reference."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

import alexnet
from alexnet.study import results
from alexnet.study.counts import CountedLadder, CountedRung, Counts
from alexnet.study.ladders import CUDA_LADDERS, LADDERS, Ladder
from support.documents import DOCUMENTS, ROOT

CONFIGURATION = (ROOT / "mkdocs.yml").read_text()


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(ROOT / "docs" / "site")
    import pages

    return pages


def test_every_page_is_in_the_navigation(pages: ModuleType) -> None:
    named = set(re.findall(r": ([\w/-]+\.md)$", CONFIGURATION, re.MULTILINE))
    docs = ROOT / "docs"
    written = {str(path.relative_to(docs)) for path in docs.glob("**/*.md")}
    assert named == written | pages.generated().keys()
    shown = {path for path in DOCUMENTS if path.is_relative_to(docs)}
    assert {docs / name for name in written if not name.startswith("notes/")} == shown


@pytest.mark.parametrize(
    "ladder", [*LADDERS.values(), *CUDA_LADDERS.values()], ids=lambda ladder: ladder.full_name
)
def test_a_ladder_page_has_every_rung_and_its_file(pages: ModuleType, ladder: Ladder) -> None:
    page = pages.generated()[f"study/{ladder.full_name}.md"]
    files = sorted((ROOT / "cpp" / "study" / ladder.folder).glob("[0-9][0-9]_*"))
    assert len(files) >= 4
    for number, file in enumerate(files):
        assert f"{{ #rung-{number} }}" in page
        assert f"](#rung-{number})" in page
        assert f'"{file.relative_to(ROOT)}"' in page
        first = file.read_text().splitlines()[0]
        assert page.count(f"    {first}\n") == 1
    assert page.count("**Predicted:**") == page.count("**Gained:**") == len(files)


def test_kept_tables_stand_beside_the_predictions(pages: ModuleType, tmp_path: Path) -> None:
    ladder = LADDERS["lrn-forward"]
    rungs = pages.rungs_of(ladder)
    seconds = [0.008, None, 0.004, *[0.001] * (len(rungs) - 3)]
    kept = tmp_path / "kept.json"
    figures = {
        "version": results.VERSION,
        "environment": {"processor": "Xeon_1", "isa": "avx2", "threads": 2},
        "ladders": [
            {
                "ladder": ladder.name,
                "case": "tf-tutorial lrn1",
                "rungs": [
                    {
                        "number": rung.number,
                        "idea": "another" if rung.number == 3 else rung.idea,
                        "seconds": time,
                        "share": time and 0.5,
                    }
                    for rung, time in zip(rungs, seconds, strict=True)
                ],
            }
        ],
    }
    kept.write_text(json.dumps(figures))
    machine = results.read(kept)
    lines = list(pages.figures(ladder, rungs, [machine]))
    assert "On Xeon\\_1, avx2, 2 threads.\n" in lines
    assert any(line.startswith("|  | rung | predicted | ms |") for line in lines)
    rows = [line for line in lines if re.match(r"\| \d", line)]
    assert rows[0] == "| 0 | [pow](#rung-0) | – | 8.00 | 50% | – |"
    assert rows[1] == "| 1 | [sliding sum](#rung-1) | 1.2× | – | – | – |"
    assert rows[2].endswith("| 4.00 | 50% | 2× |"), "over the last rung that has a time"
    assert rows[3].startswith("| 3 | another | – | 1.00"), "no longer the rung of that number"
    of_two = list(pages.figures(ladder, rungs, [machine, machine]))
    assert r"2. Xeon\_1, avx2, 2 threads" in of_two
    assert any("| 1: ms | 1: peak | 1: factor | 2: ms |" in line for line in of_two)


def test_counts_stand_beside_the_predictions(pages: ModuleType) -> None:
    ladder = CUDA_LADDERS["conv2d-forward"]
    page = pages.generated()[f"study/{ladder.full_name}.md"]
    assert "alexnet study conv2d-forward --device cuda\n" in page
    rungs = pages.rungs_of(ladder)
    fields = dict.fromkeys(Counts.__dataclass_fields__, 1000)
    made_up = [
        CountedRung(rung.number, rung.idea, 1e-7, 1e-6, Counts(**{**fields, "sectors": sectors}))
        for rung, sectors in zip(rungs, (10**6, 10**5, *[10**4] * 20), strict=False)
    ]
    kept = CountedLadder("case", {}, 1, tuple(made_up))
    rows = [line for line in pages.counted(rungs, kept) if re.match(r"\| \d", line)]
    assert len(rows) == len(rungs)
    assert rows[0].startswith("| 0 | [naive](#rung-0) | 32 | ")
    assert rows[2].endswith("| 20 times fewer sectors | 10× | 1.0e-07 |")


def test_banks_are_those_that_the_caption_says(pages: ModuleType) -> None:
    picture = pages.drawings.shared_banks()
    assert "each bank 4 times: 4 wavefronts" in picture
    assert "32 banks: 1 wavefront" in picture


def test_a_ring_hides_copies_that_take_less_than_its_stages(pages: ModuleType) -> None:
    drawings = pages.hopper_drawings
    hidden = drawings.in_the_ring(9, 4, 3)
    assert [step.multiplied for step in hidden] == list(range(3, 12)), "one after the other"
    assert all(step.arrived == step.multiplied for step in hidden)
    waiting = drawings.in_the_ring(9, 2, 3)
    assert [step.multiplied for step in waiting] == [3, 4, 7, 8, 11, 12, 15, 16, 19]
    for number in range(2, 9):
        assert waiting[number].begin > waiting[number - 2].multiplied, "where there is room"


def test_nothing_in_a_header_is_markup(pages: ModuleType) -> None:
    assert pages.text("2 * r * x_c < `a * b`") == r"2 \* r \* x\_c &lt; `a * b`"


def test_drawings_are_well_formed_and_inside_their_frame(pages: ModuleType) -> None:
    pictures = {picture for each in pages.INTRODUCTIONS.values() for picture, _ in each.pictures}
    pictures |= {picture for each in pages.CUDA_PICTURES.values() for picture, _ in each}
    pictures.add(pages.drawings.roofline(pages.intensities()))
    assert pages.INTRODUCTIONS.keys() == LADDERS.keys()
    assert len(pictures) >= 6
    for picture in pictures:
        svg = ElementTree.fromstring(picture)
        assert "\n" not in picture
        _, _, width, height = map(float, svg.attrib["viewBox"].split())
        for box in svg.iter("{http://www.w3.org/2000/svg}rect"):
            x, y, wide, high = (float(box.attrib[name]) for name in ("x", "y", "width", "height"))
            assert 0 <= x <= x + wide <= width
            assert 0 <= y <= y + high <= height
        for words in svg.iter("{http://www.w3.org/2000/svg}text"):
            assert 0 < float(words.attrib["y"]) <= height - 3, words.text


def test_winograds_tiles_cover_the_outputs(pages: ModuleType) -> None:
    tilings = dict(pages.drawings.tilings(13))
    assert [sum(tiles) for tiles in tilings.values()] == [14, 16, 13]
    assert tilings["ragged"] == [5, 4, 4]
    picture = pages.drawings.winograd_tiles()
    for points in (28, 24, 19):
        assert f"{points}² = {points**2}" in picture


def test_every_operator_is_in_the_reference(pages: ModuleType) -> None:
    page = pages.operators_page()
    for name in alexnet.reference.__all__:
        assert f"heading: alexnet.{name}\n" in page
    for module, name in re.findall(r"^::: (\S+)\.(\w+)$", page, re.MULTILINE):
        assert module == getattr(alexnet.reference, name).__module__


def test_the_derivation_of_the_bounds_is_whole(pages: ModuleType) -> None:
    page = pages.bounds_page()
    titles = re.findall(r"^## (.*)$", page, re.MULTILINE)
    assert [title.split()[0] for title in titles] == ["Exact", "Sums", "The", "Element-wise", "In"]
    assert r"u\*\*2 \* n\*\*2 \* t\*\*2 / 6" in page


def test_the_roofline_is_drawn_where_it_is_explained(pages: ModuleType) -> None:
    written = (ROOT / "docs" / "study" / "README.md").read_text()
    shown = pages.with_pictures("study/README.md", written)
    assert pages.drawings.roofline(pages.intensities()) in shown.partition("## The roofline")[2]
    assert pages.with_pictures("README.md", written) == written
    for name, intensity in pages.intensities().items():
        assert f"{name}: {intensity:.0f}<" in shown
    with pytest.raises(ValueError, match="no heading"):
        pages.with_pictures("study/README.md", "# Something else")
