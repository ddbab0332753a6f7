"""The initial radius where nobody gave one: measured on the backbone itself.

Hidden states of different models differ in size by orders of magnitude, so a radius means nothing without a
yardstick. The yardstick here is how far apart the keys of unrelated prompts lie.
"""

from __future__ import annotations

import torch

SHARE = 0.25
"""The radius as a share of the yardstick."""

SUBJECT_SHARE = 0.5
"""The same for edits with a subject. A prompt that names it is near to the edit already; what it asks of it decides.
With MiniLM keys .92 of 800 zsRE rephrases are that near, and of the example's questions .84 of the rephrases and none
about another relation of the same subject. At a share of 0.7 it is .99 and .95, and .32 of the others."""

CLAUSE_SHARE = 0.75
"""The same where a key is of what is asked of a subject. At 0.73 .80 of zsRE rephrases are led right and .007 of the
questions in an edit's form about another subject astray; calibration finds what suits one's own reports."""

PROBES = (
    "Who wrote the first novel in the series?",
    "What is the capital of the northern province?",
    "The bridge was opened to traffic in",
    "How many players are on a volleyball team?",
    "My sister's favourite colour has always been",
    "When did the museum move to its new building?",
    "Which company makes the engines of this aircraft?",
    "The recipe asks for two cups of flour and",
    "Who was the mother of the last emperor?",
    "What language do people speak on the island?",
    "The court held that the contract was void because",
    "In what year was the observatory founded?",
    "How tall is the highest mountain in the region?",
    "She studied chemistry at the University of",
    "What position did he play for the national team?",
    "The film was directed by",
    "Where does the river flow into the sea?",
    "What kind of animal is a wombat?",
    "The software update fixes a problem with",
    "Who painted the ceiling of the chapel?",
    "Which planet has the most moons?",
    "The train from the airport to the city takes",
    "What is the boiling point of ethanol?",
    "Once upon a time there was a little girl who",
    "Who is the current chairman of the board?",
    "What instrument does the lead singer play?",
    "The patient was treated for",
    "On which network was the show first broadcast?",
    "The treaty ended a war between",
    "What was the name of his second wife?",
    "Yesterday the price of oil rose to",
    "Which chromosome carries the gene?",
)


def measured_radius(keys: torch.Tensor, share: float = SHARE) -> float:
    """``share`` of the median distance of a probe's key to the nearest other one.

    Args:
        keys: [n, d] float32, keys of ``PROBES``.
        share: of the yardstick.
    """
    distances = torch.cdist(keys.double(), keys.double())
    distances.fill_diagonal_(float("inf"))
    return share * distances.amin(1).median().item()
