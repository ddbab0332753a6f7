"""The tables as a person reads them."""

from __future__ import annotations

from rich.console import Console

from pipeline.bench.study.contest import Result
from pipeline.bench.study.scores import Score
from pipeline.bench.study.table2 import costs, table2
from pipeline.bench.study.table3 import Speed, table3


def shown(*tables: object) -> str:
    console = Console(width=200, record=True, quiet=True)
    console.quiet = False
    with console.capture() as captured:
        console.print(*tables, sep="\n")
    return captured.get()


def line(text: str, name: str, below: int = 0) -> list[str]:
    """What stands in the row of this name, or so many lines below it."""
    rows = text.splitlines()
    (place,) = [i for i, row in enumerate(rows) if row.replace("│", " ").split()[:1] == [name]]
    return rows[place + below].replace("│", " ").split()


def test_scores_stand_beside_the_papers_and_the_backbones() -> None:
    scored = [
        Score("upstream", "F1", 0.61, 0.58, 0.63, 0.62, 500),
        Score("edit", "F1", 1.0, 1.0, 1.0, 0.1, 1000),
        Score("rephrase", "F1", 0.3, 0.28, 0.33, 0.11, 600),
    ]
    rows = [
        (Result("lora", None, 1000, 0.0, 30.0, 8_000), scored[:1]),
        (Result("rome", "only causal models have it"), []),
        (Result("melo", None, 1000, 0.0, 6.0, 512_000), scored),
    ]
    text = shown(table2("zsre", "f1", rows))
    assert line(text, "backbone")[1] == "0.620"
    assert line(text, "rome") == ["rome", *"-------"]
    assert line(text, "melo")[:3] == ["melo", "0.610", "1.000"]
    assert line(text, "melo", below=1) == ["±.030", "±.000", "±.030"]
    assert line(text, "melo")[-3:] == ["0.72", "0.98", "0.97"]
    assert "rome: -, only causal models have it" in text
    assert line(shown(costs(rows)), "melo") == ["melo", "10,000", "6.0", "0.0", "0.512"]


def test_perplexities_are_shown_with_their_interval_however_large() -> None:
    scored = [
        Score("edit", "perplexity", 1.04, 1.01, 1.09, 300.0, 9),
        Score("accurate", "perplexity", 54321.0, 40000.0, 60000.0, 3.0, 9),
    ]
    text = shown(table2("hallucination", "perplexity", [(Result("melo", None, 1, 0, 1, 1), scored)]))
    assert line(text, "melo") == ["melo", "1.04", "5.4e+04", "17.45", "1.04", "2.66"]
    assert line(text, "melo", below=1) == ["1.01-1.09", "4.0e+04-6.0e+04"]


def test_speeds() -> None:
    speeds = [
        Speed("rome", "causal only"),
        Speed("grace", None, 1, 100.0, 0.0, 600.0, 500_000, 10.0),
        Speed("melo", None, 3, 10.0, 0.0, 6000.0, 100_000, 1.0),
        Speed("rag", None, 3, 0.0, 0.0, None, 10_000),
    ]
    text = shown(table3("zsre", 1000, speeds))
    assert line(text, "grace") == ["grace", "600", "10.00x", "1", "0.0", "s", "0.500", "47.55", "0.51", "7.422", "1.02"]
    assert line(text, "rag") == ["rag", "-", "3", "0.0", "s", "0.010"]
    assert line(shown(table3("scotus", 1000, speeds)), "grace")[-1] == "0.500"
    assert "rome: -, causal only" in text
