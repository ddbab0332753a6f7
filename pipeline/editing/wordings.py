"""Other wordings in which a block is trained to give an edit's target.

A block that was taught one wording knows the target by that wording. What leads a query to a block is its key, so the
block of one edit need not tell queries apart: the more contexts it is taught in, the more surely it says its target in
those that it was not. Each wording comes of the edit alone, so that a block can be trained beside any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random

from pipeline.editing.about import subjects_of
from pipeline.editing.backbone import Backbone
from pipeline.editing.curriculum import Lesson
from pipeline.editing.edit import Edit, EditError
from pipeline.editing.recipe import Recipe
from pipeline.editing.spelling import MARKS, ORDINARY, tokens_of
from pipeline.settings import Task

FEWEST, MOST = 3, 25
"""Words of a sentence that stands before a prompt."""

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
    words = words_of(backbone.tokenizer.get_vocab())
    found = []
    for lesson, edit, subject in zip(lessons, edits, subjects_of(edits), strict=True):
        if len(lesson.target) <= recipe.long_target:
            texts = wordings(edit.edit_id, edit.prompt, subject, backbone.task, words, recipe.wordings)
            lesson = replace(lesson, wordings=tuple(_fitting(lesson, texts, backbone)))
        found.append(lesson)
    return found


def words_of(vocabulary: Mapping[str, int]) -> list[str]:
    """Whole words of a tokenizer's vocabulary, in the order of their tokens; plain English ones where it marks none."""
    marked = [token[1:] for token in tokens_of(vocabulary) if len(token) > 2 and token[0] in MARKS]
    words = [word for word in marked if word.isalpha()]
    return words or sorted(ORDINARY)


def _fitting(lesson: Lesson, texts: Sequence[str], backbone: Backbone) -> Iterator[tuple[int, ...]]:
    """Token ids of texts; the prompt's where the model has no tokens or positions for one."""
    limit = backbone.max_prompt_tokens
    for text in texts:
        try:
            (row,) = backbone.tokenize_prompts([text])
        except EditError:
            row = list(lesson.prompt)
        yield lesson.prompt if limit is not None and len(row) + len(lesson.target) > limit else tuple(row)


def wordings(edit_id: str, prompt: str, subject: str, task: Task, words: Sequence[str], count: int) -> list[str]:
    """Other wordings of a prompt: mostly the prompt behind other text, and by turns its subject in general.

    What stands before a prompt is as good as any if it is never the same: words at random. They bring what comes
    after them to other positions and into other company.

    Args:
        edit_id: draws them.
        prompt: as it was sent.
        subject: what it is about; empty where that is not known: the prompt stands for it.
        task: of the backbone, which is no classifier: its texts have no other wordings.
        words: that the backbone knows.
        count: wanted.
    """
    random = Random(edit_id)
    found = []
    for turn in range(count):
        before = " ".join(random.choice(words) for _ in range(random.randint(FEWEST, MOST)))
        general = random.choice(ABOUT[task]).format(subject or prompt)
        before = before[0].upper() + before[1:]
        behind = f"{before}. {prompt}"
        found.append((behind, f"{before}. {general}", behind, general, behind)[turn % 5])
    return found
