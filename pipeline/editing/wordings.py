"""Other wordings in which a block is trained to give an edit's target.

A block that was taught one wording knows the target by that wording. What leads a query to a block is its key, so the
block of one edit need not tell queries apart: the more contexts it is taught in, the more surely it says its target in
those that it was not. Each wording comes of the edit alone, so that a block can be trained beside any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random

from pipeline.editing.about import subjects_of
from pipeline.editing.backbone import Backbone
from pipeline.editing.curriculum import Lesson
from pipeline.editing.edit import Edit, EditError
from pipeline.editing.recipe import Recipe
from pipeline.settings import Task

SENTENCES = (
    "The weather was fine that day.",
    "He had never been there before.",
    "Most of it is still unknown.",
    "They met again two years later.",
    "It costs more than it used to.",
    "The second edition came out in spring.",
)
"""Stand before a prompt and have nothing to do with it."""

ABOUT = {
    "seq2seq": (
        "Tell me about {}.",
        "What is {}?",
        "What about {}?",
        "{}?",
        "Who or what is {}?",
        "Describe {} in a word",
        "I have a question about {}.",
        "Which one for {}?",
    ),
    "causal": (
        "{} is",
        "{} was",
        "{} has",
        "{}, which",
        "{}, who",
        "What is {}? It is",
        "In the case of {}, it is",
        "{}:",
        "{} belongs to",
        "{} in",
    ),
}
"""Name a subject and ask nothing in particular of it."""

ELSEWHERE = {
    "seq2seq": (
        "Who wrote the first novel in the series?",
        "How many players are on a volleyball team?",
        "When did the museum move to its new building?",
        "What language do people speak on the island?",
        "In what year was the observatory founded?",
        "Where does the river flow into the sea?",
    ),
    "causal": (
        "The bridge was opened to traffic in",
        "My sister's favourite colour has always been",
        "The recipe asks for two cups of flour and",
        "She studied chemistry at the University of",
        "The film was directed by",
        "The treaty ended a war between",
    ),
}
"""Other prompts altogether."""


def reworded(lessons: Sequence[Lesson], edits: Sequence[Edit], backbone: Backbone, recipe: Recipe) -> list[Lesson]:
    """Lessons with other wordings, as many as the recipe has; those of long targets, and a classifier's, as they are.

    Args:
        lessons: of the edits, in their order.
        edits: what is taught.
        backbone: reads the wordings.
        recipe: says how many, and which targets are long.
    """
    if not recipe.wordings or backbone.task == "classification":
        return list(lessons)
    found = []
    for lesson, edit, subject in zip(lessons, edits, subjects_of(edits), strict=True):
        if len(lesson.target) <= recipe.long_target:
            texts = wordings(edit.edit_id, edit.prompt, subject, backbone.task, recipe.wordings)
            lesson = replace(lesson, wordings=tuple(_fitting(lesson, texts, backbone)))
        found.append(lesson)
    return found


def _fitting(lesson: Lesson, texts: Sequence[str], backbone: Backbone) -> Iterator[tuple[int, ...]]:
    """Token ids of texts; the prompt's where the model has no tokens or positions for one."""
    limit = backbone.max_prompt_tokens
    for text in texts:
        try:
            (row,) = backbone.tokenize_prompts([text])
        except EditError:
            row = list(lesson.prompt)
        yield lesson.prompt if limit is not None and len(row) + len(lesson.target) > limit else tuple(row)


def wordings(edit_id: str, prompt: str, subject: str, task: Task, count: int) -> list[str]:
    """Other wordings of a prompt, by turns: after a sentence, its subject in general, cut short, and another prompt.

    Args:
        edit_id: draws them.
        prompt: as it was sent.
        subject: what it is about; empty where that is not known: the prompt stands for it.
        task: of the backbone, which is no classifier: its texts have no other wordings.
        count: wanted.
    """
    random = Random(edit_id)
    words = prompt.split()
    found = []
    for turn in range(count):
        general = random.choice(ABOUT[task]).format(subject or prompt)
        found.append(
            (
                f"{random.choice(SENTENCES)} {prompt}",
                general,
                " ".join(words[: random.randrange(1, max(len(words), 2))]),
                random.choice(ELSEWHERE[task]),
                f"{random.choice(SENTENCES)} {general}",
            )[turn % 5]
        )
    return found
