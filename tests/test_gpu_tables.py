"""The tables of docs/gpu.md, made from the file that benchmarks/gpu_check writes."""

from __future__ import annotations

import copy
import importlib
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from support.documents import ROOT


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    yield importlib.import_module("gpu_tables")
    del sys.modules["gpu_tables"]


def timed(seconds: float) -> dict[str, Any]:
    return {"median": seconds, "least": seconds, "most": seconds, "runs": 5}


NONE = {"reason": "it is not there"}
RECORD: dict[str, Any] = {
    "stages": {
        "kernels": {
            "ceilings": {"copy_bytes_per_second": 2.98e12, "products": {"tf32": 3.71e14}},
            "rows": [
                {
                    "case": "tf-tutorial/conv2/forward/b32",
                    "precision": "tf32",
                    "flops": 14_000_000_000,
                    "bytes": 25_000_000,
                    "ours": timed(60e-6),
                    "PyTorch": timed(44e-6),
                    "predicted": {"seconds": 40e-6, "bound": "issue", "most": 40e-6},
                },
                {
                    "case": "tf-tutorial/lrn1/forward/b32",
                    "precision": "tf32",
                    "flops": 0,
                    "bytes": 50_000_000,
                    "ours": timed(25e-6),
                    "PyTorch": NONE,
                    "predicted": NONE,
                },
            ],
        },
        "networks": {
            "rows": [
                {
                    "lrn": True,
                    "batch_size": 32,
                    "precision": "tf32",
                    "target": "forward",
                    "flops": 1,
                    "ours": timed(0.8e-3),
                    "ours without graphs": timed(1.1e-3),
                    "PyTorch eager": timed(1.0e-3),
                    "PyTorch CUDA graph": timed(0.5e-3),
                    "torch.compile max-autotune": NONE,
                }
            ]
        },
        "configurations": {
            "best": [
                {
                    "case": "tf-tutorial/conv2/forward/b32",
                    "precision": "tf32",
                    "blocking": [128, 64, 2],
                    "stages": "built",
                    "seconds": 50e-6,
                    "rule_over_best": 1.2,
                }
            ]
        },
    }
}


def test_tables(tmp_path: Path, tables: Any, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "gpu.json"
    file.write_text(json.dumps(RECORD))
    assert tables.main([str(file)]) == 0
    printed = capsys.readouterr().out
    assert "| 32 | tf32 | yes | forward | 0.80 | 1.10 | 1.00 | 0.50 | – | 1.60 |\n" in printed
    assert "| conv2/forward/b32 | tf32 | 60.0 | 233.3 TFLOP/s | 44.0 | 40.0 | issue |\n" in printed
    assert "| lrn1/forward/b32 | tf32 | 25.0 | 2000 GB/s | – | – | – |\n" in printed
    assert "| copy, read and written | 2980 GB/s |\n" in printed
    assert "| conv2/forward/b32 | tf32 | 128 × 64 · 2 | built | 50.0 | 1.20 |\n" in printed


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            ("networks", "rows", 0, "ours"),
            timed(math.nan),
            "networks, 32 tf32 yes forward, ours: nan",
        ),
        (("networks", "rows", 0, "PyTorch eager"), None, "forward, PyTorch eager: None, expected"),
        (("networks", "rows", 0, "ours"), {}, "forward, ours: None, expected a finite number"),
        (("networks", "rows"), [], "networks: there are no rows"),
        (("kernels", "rows", 0, "ours"), timed(math.inf), "conv2/forward/b32 tf32: inf, expected"),
        (("kernels", "rows", 1, "predicted"), {"bound": "x"}, "tf32, predicted: None, expected"),
        (("kernels", "rows", 0, "PyTorch"), "fast", "tf32, PyTorch: 'fast', expected a finite"),
        (("kernels", "ceilings", "copy_bytes_per_second"), math.nan, "ceilings, copy: nan"),
        (("kernels", "ceilings"), {}, "kernels: ceilings are missing"),
        (("configurations", "best"), [], "configurations: best is missing"),
    ],
)
def test_tables_refuse_what_is_missing_or_no_number(
    tmp_path: Path,
    tables: Any,
    capsys: pytest.CaptureFixture[str],
    path: tuple[Any, ...],
    value: Any,
    message: str,
) -> None:
    record = copy.deepcopy(RECORD)
    place = record["stages"]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    file = tmp_path / "gpu.json"
    file.write_text(json.dumps(record))
    assert tables.main([str(file)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("key", ["ours", "PyTorch eager"])
def test_tables_refuse_a_row_without_a_figure_that_others_have(
    tmp_path: Path, tables: Any, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    record = copy.deepcopy(RECORD)
    rows = record["stages"]["networks"]["rows"]
    rows.append({name: value for name, value in rows[0].items() if name != key})
    file = tmp_path / "gpu.json"
    file.write_text(json.dumps(record))
    assert tables.main([str(file), "--tables", "networks"]) == 2
    assert f"networks, 32 tf32 yes forward: {key} is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "absent"), [("h200", "configurations"), ("h100", "kernels, configurations")]
)
def test_tables_of_the_kept_figures_name_what_was_not_measured(
    tables: Any, capsys: pytest.CaptureFixture[str], name: str, absent: str
) -> None:
    file = str(ROOT / "docs" / "results" / f"gpu-{name}.json")
    assert tables.main([file]) == 0
    assert capsys.readouterr().out.endswith(f"\n\nnot measured: {absent}\n")
    assert tables.main([file, "--tables", "configurations"]) == 2
    assert "configurations: best is missing" in capsys.readouterr().err


def test_a_file_without_any_table_is_an_error(
    tmp_path: Path, tables: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "gpu.json"
    file.write_text('{"stages": {"kernels": {}}}')
    assert tables.main([str(file)]) == 2
    assert "there is nothing of ceilings, networks, kernels" in capsys.readouterr().err


def test_tables_go_between_their_marks(
    tmp_path: Path, tables: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    document, file = tmp_path / "gpu.md", tmp_path / "gpu.json"
    file.write_text(json.dumps(RECORD))
    monkeypatch.setattr(tables, "DOCUMENT", document)
    begin, end = "<!-- gpu_tables: ceilings -->\n", "<!-- end of ceilings -->"
    document.write_text(f"before\n{begin}old\n{end}\nafter\n")
    for _ in range(2):
        assert tables.main([str(file), "--write"]) == 0
        table = tables.markdown(tables.ceilings(RECORD))
        assert document.read_text() == f"before\n{begin}\n{table}\n{end}\nafter\n"
    document.write_text(f"before\n{begin}old\n")
    assert tables.main([str(file), "--write"]) == 2


def test_the_document_has_the_tables_of_the_kept_figures(tables: Any) -> None:
    record = json.loads((ROOT / "docs" / "results" / "gpu-h200.json").read_text())
    text = (ROOT / "docs" / "gpu.md").read_text()
    assert tables.written(text, record) == text
    assert "<!-- gpu_tables: networks -->" in text
