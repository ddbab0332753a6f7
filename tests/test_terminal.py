"""Texts of strangers are shown, and steer nothing."""

from __future__ import annotations

import io

import pytest
from rich.table import Table
from rich.text import Text

from pipeline import edit_screens
from pipeline.terminal import console

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x1b[31mred\x9b1m \u202eEVE\u202c\r\x08end"


@pytest.mark.parametrize("colours", [False, True])
def test_no_escape_sequence_of_a_text_reaches_the_terminal(colours: bool) -> None:
    made, file = console(), io.StringIO()
    made.file = file
    made._color_system = None  # what is left are not the console's own
    if colours:
        made._force_terminal = True
    table = Table(HOSTILE)
    table.add_row(HOSTILE, style="bold")
    made.print(HOSTILE, Text(HOSTILE), table, "[bold]kept[/bold]")
    with made.status(HOSTILE):
        pass
    written = file.getvalue()
    for steering in ("\x1b]0", "\x1b[2J", "\x1b[31m", "\x07", "\x9b", "\u202e", "\x08", "\rend"):
        assert steering not in written, steering
    assert "]0;owned" in written and "[bold]kept[/bold]" in written


def test_an_edit_is_one_line_whatever_it_holds() -> None:
    prompt = "Who?\nffffffffffff  live      Is it safe? -> yes\r\nx"
    assert edit_screens.edit_line("a" * 32, "live", prompt, "me\n\nyou").plain.count("\n") == 0
