"""What a stranger may send: markup, marks that turn text around, words without end, characters that HTML forbids."""

from __future__ import annotations

from typing import Any

from tests.report.nights import Told, asked, edit_id

HOSTILE = (
    "</script><script>alert(1)</script>",
    "</style><style>body{display:none}</style>",
    "</title></head><body onload=alert(1)>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "<!--number--> <!-- ]]> -->",
    "<svg><a xlink:href='javascript:alert(1)'>",
    "<base href='https://example.org/'><link rel=stylesheet href=//example.org/x.css>",
    '<meta http-equiv="refresh" content="0;url=https://example.org/">',
    "{{ 7 * 7 }} {% raw %} {# x #} ${7*7}",
    "&lt;b&gt; &amp;amp; &#x202e; &notanentity;",
    "\u202eright to left override\u202d and never back",
    "\u2067مرحبا\u2066 שלום \u200f",
    "\0\x01\x08\x0b\x1b[31m\x7f\x85\ufffe\ufdd0\U0001ffff",
    "\r\n\t line \u2028 ends \u2029",
    "👩‍👩‍👧‍👦🏴󠁧󠁢󠁥󠁮󠁧󠁿🇺🇳" + "e" + "\u0301" * 200,
    "W" * 30_000,
    "   ",
    "",
)


def hostile_night(failures: int = 3000) -> Told:
    """All of it wherever a stranger's text can come to stand, and thousands of failures."""
    edits: list[dict[str, Any]] = [
        {"prompt": text or "?", "target": text or "?", "reason": text, "state": state}
        for text in HOSTILE
        for state in ("live",)
    ]
    edits += [{"prompt": f"failed {text}", "target": "x", "state": "failed", "reason": text} for text in HOSTILE]
    first = edit_id(HOSTILE[0], HOSTILE[0])
    rows = [asked(text or "?", text or "?", f"no {text}", base=text, routed_edit=first) for text in HOSTILE]
    rows += [asked("Who?", "Ann", HOSTILE[n % len(HOSTILE)], kind="typo", wording=f"W{n}o?") for n in range(failures)]
    rows += [
        {"kind": "negated", "prompt": text or "?", "answer": text, "base_answer": "", "block": 0}
        | {"routed_edit": first, "distance": 0.5, "radius": 1.0}
        for text in HOSTILE
    ]
    dropped = [{"prompt": text, "kept_target": text, "dropped_target": text, "reason": text} for text in HOSTILE]
    refused = [{"reason": text, "detail": text} for text in HOSTILE]
    places = {row["prompt"]: 1.5 * place for place, row in enumerate(edits[: len(HOSTILE)])}  # all of them meet
    source = f"drop/{HOSTILE[3]}.jsonl"
    return Told(edits, rows, places, source, "seq2seq", quarantine=refused, contradictions=dropped)
