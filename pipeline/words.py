"""How a person calls what tables and scores name, on the terminal and on a page alike."""

from __future__ import annotations

COUNTED = {
    "reports": "read",
    "edits": "admitted as edits",
    "review": "to be reviewed (melo review)",
    "confirmed": "of those in quarantine, that an answer was right",
}
"""Counts of a night -> how a person calls them, where not by name."""
WORDINGS = {
    "edit": "as reported",
    "rephrase": "reported in other words",
    "typo": "with a typing error",
    "wrapped": "as sent to a chat",
}
"""Kinds of questions that are to get an edit's target -> how a person calls them."""
OTHERS = {
    "locality": "reported as not to change",
    "upstream": "the backbone's own task",
    "unrelated": "about nothing that was edited",
    "distractor": "same form, another subject",
    "relation": "same subject, asked something else",
    "near": "one word or digit of it changed",
    "negated": 'with a "not"',
}
"""Kinds of questions that the backbone is to answer -> likewise."""
