"""Kinds of questions, by what the right answer to them is."""

from __future__ import annotations

REWORDED = ("typo", "wrapped")
"""Derived wordings of an edit: with a typing error, and as people send it to a chat."""
OTHERS = ("unrelated", "distractor", "relation", "near", "negated")
"""Derived questions that no edit is about: of nothing in particular; of the same form about another subject; about
the same subject in another respect; one word or digit away; with a "not"."""
DERIVED = (*REWORDED, *OTHERS)

SAID = ("edit", "rephrase", *REWORDED)
"""Kinds that are to find an edit's block and get its target."""
LEFT_ALONE = ("locality", "upstream", *OTHERS)
"""Kinds that are to find no block and get the backbone's answer."""
