"""What ``generate`` takes and gives: strings, tensors, transformers' own arguments; alone and in company."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from threading import Barrier, Event, Thread
from typing import Any

import pytest
import torch
from transformers import GenerationConfig, LogitsProcessorList, TextIteratorStreamer, TextStreamer
from transformers.generation import LogitsProcessor

from pipeline.editing.backbone import Backbone
from pipeline.editing.edit import Edit
from pipeline.editing.model import EditedModel
from tests.editing.edited import EDITED, SETTINGS, teach, tiny
from tests.editing.tiny import END, LABELS, PAD, Family, task_of

GENERATORS: tuple[Family, ...] = ("t5", "gpt2", "llama")
CAUSAL: tuple[Family, ...] = ("gpt2", "llama", "qwen3")
FACTS = {
    "Who wrote the first novel in the series?": "Paris",
    "The capital of the northern province is": "green",
    "What is the capital of France?": "museum",
    "The treaty was signed in the spring of": "1847",
}
OUTSIDE = ("How tall is the highest mountain?", "She studied chemistry at the University of", "Why?")
FIRST, SECOND, THIRD, FOURTH = FACTS
MIXED = (OUTSIDE[0], FIRST, FOURTH, OUTSIDE[2], OUTSIDE[1], THIRD, FIRST)
ODD = [0, 3, 4]  # the rows of MIXED that no edit is about
MARGIN = 3.0  # the default makes an answer greedy decoding's, and beams look for the likeliest one as a whole


def facts_of(family: Family) -> dict[str, str]:
    return dict(zip(FACTS, LABELS, strict=False)) if task_of(family) == "classification" else FACTS


def edited(backbone: Backbone, facts: dict[str, str], index: str | Path = "memory") -> EditedModel:
    settings = SETTINGS.model_copy(update={"margin": MARGIN})
    model = EditedModel.from_backbone(backbone, index=index, settings=settings)
    teach(model, [Edit(prompt, target) for prompt, target in facts.items()])
    return model


@cache
def taught(family: Family, dtype: torch.dtype = torch.float32) -> EditedModel:
    """Knows FACTS; for tests that change nothing."""
    return edited(tiny(family, dtype=dtype), facts_of(family))


@cache
def plain(family: Family, dtype: torch.dtype = torch.float32) -> Backbone:
    """The same backbone, never edited."""
    return tiny(family, dtype=dtype)


def tensors(backbone: Backbone, prompts: Any, side: Any = None) -> tuple[torch.Tensor, torch.Tensor]:
    return backbone.pad(backbone.tokenize_prompts(list(prompts)), side or backbone.padding_side)


def base_answers(family: Family, prompts: Any, tokens: int = 8) -> list[str]:
    """What the backbone says by transformers' own generate."""
    backbone = plain(family)
    ids, mask = tensors(backbone, prompts)
    with torch.no_grad():
        if backbone.task == "classification":
            return [LABELS[i] for i in backbone.model(input_ids=ids, attention_mask=mask).logits.argmax(-1).tolist()]
        output = backbone.model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=tokens)
    return [backbone.decode_answer(row) for row in output[:, ids.shape[1] if backbone.task == "causal" else 0 :]]


def short(family: Family) -> dict[str, Any]:
    return {} if task_of(family) == "classification" else {"max_new_tokens": 8}


def expected(family: Family, prompts: Any) -> list[str]:
    """The edits' answers where there is an edit, else the backbone's."""
    facts, base = facts_of(family), base_answers(family, prompts)
    return [facts.get(prompt, answer) for prompt, answer in zip(prompts, base, strict=True)]


def decoded(model: EditedModel, ids: torch.Tensor, sequences: torch.Tensor) -> list[str]:
    first = ids.shape[1] if model.backbone.task == "causal" else 0
    return [model.backbone.decode_answer(row) for row in sequences[:, first:]]


# Strings and tensors


@pytest.mark.parametrize("family", EDITED)
def test_strings_in_strings_out(family: Family) -> None:
    model = taught(family)
    assert model.generate(list(MIXED), **short(family)) == expected(family, MIXED)
    assert model.generate(MIXED, **short(family)) == expected(family, MIXED)


@pytest.mark.parametrize("family", EDITED)
def test_one_string_in_one_string_out(family: Family) -> None:
    for prompt in (SECOND, OUTSIDE[0]):
        assert taught(family).generate(prompt, **short(family)) == expected(family, [prompt])[0]


@pytest.mark.parametrize("family", GENERATORS)
def test_strings_get_an_answer_of_64_tokens_unless_somebody_says_how_long(family: Family) -> None:
    model, prompt = taught(family), OUTSIDE[0]
    backbone = plain(family)
    long = GenerationConfig(max_new_tokens=3, pad_token_id=PAD, eos_token_id=END)
    assert model.generate(prompt) == base_answers(family, [prompt], tokens=64)[0]
    assert model.generate(prompt, max_new_tokens=3) == base_answers(family, [prompt], tokens=3)[0]
    if backbone.task == "seq2seq":
        long.decoder_start_token_id = PAD
    assert model.generate(prompt, generation_config=long) == base_answers(family, [prompt], tokens=3)[0]


@pytest.mark.parametrize("family", GENERATORS)
def test_tensors_in_tensors_out(family: Family) -> None:
    model = taught(family)
    ids, mask = tensors(model.backbone, MIXED)
    output = model.generate(ids, mask, max_new_tokens=8)
    assert output.dtype == torch.int64 and len(output) == len(MIXED)
    assert decoded(model, ids, output) == expected(family, MIXED)
    if task_of(family) == "causal":
        assert torch.equal(output[:, : ids.shape[1]], ids)


@pytest.mark.parametrize("family", EDITED)
def test_transformers_names_for_the_tensors(family: Family) -> None:
    model = taught(family)
    ids, mask = tensors(model.backbone, MIXED)
    positional = model.generate(ids, mask, **short(family))
    assert torch.equal(model.generate(input_ids=ids, attention_mask=mask, **short(family)), positional)
    batch = model.backbone.tokenizer(list(MIXED), return_tensors="pt", padding=True)
    assert torch.equal(model.generate(**batch, **short(family)), positional)


@pytest.mark.parametrize("family", EDITED)
def test_a_missing_attention_mask_is_inferred(family: Family) -> None:
    model = taught(family)
    ids, mask = tensors(model.backbone, MIXED)
    assert not mask.all()
    assert torch.equal(model.generate(ids, **short(family)), model.generate(ids, mask, **short(family)))


@pytest.mark.parametrize("family", CAUSAL)
def test_causal_tensors_padded_left_or_right_get_the_same_answers(family: Family) -> None:
    model = taught(family)
    answers = []
    for side in ("left", "right"):
        ids, mask = tensors(model.backbone, MIXED, side)
        for given in (mask, None):
            answers.append(decoded(model, ids, model.generate(ids, given, max_new_tokens=8)))
    assert answers == [expected(family, MIXED)] * 4


def test_classification_gives_names_for_strings_and_logits_for_tensors() -> None:
    model = taught("bert")
    assert model.generate(list(FACTS)) == list(LABELS[:4])
    assert model.generate(THIRD) == LABELS[2]
    ids, mask = tensors(model.backbone, MIXED)
    logits = model.generate(ids, mask)
    assert logits.shape == (len(MIXED), len(LABELS)) and logits.is_floating_point()
    assert [LABELS[i] for i in logits.argmax(-1).tolist()] == expected("bert", MIXED)
    assert not logits.requires_grad


# transformers' own arguments


@pytest.mark.parametrize("family", GENERATORS)
def test_samples_come_side_by_side(family: Family) -> None:
    model = taught(family)
    answers = model.generate(list(MIXED), max_new_tokens=8, do_sample=True, top_k=1, num_return_sequences=3)
    assert answers == [answer for answer in expected(family, MIXED) for _ in range(3)]
    assert model.generate(MIXED[1], do_sample=True, top_k=1, num_return_sequences=2) == ["Paris"] * 2


@pytest.mark.parametrize("family", GENERATORS)
def test_beams(family: Family) -> None:
    model = taught(family)
    answers = model.generate(list(MIXED), max_new_tokens=8, num_beams=4)
    for prompt, answer in zip(MIXED, answers, strict=True):
        if prompt in FACTS:
            assert answer == FACTS[prompt]
    several = model.generate(list(MIXED), max_new_tokens=8, num_beams=4, num_return_sequences=2)
    assert several[::2] == answers
    assert all(first != second for first, second in zip(several[::2], several[1::2], strict=True))


@pytest.mark.parametrize("family", GENERATORS)
def test_an_output_with_everything_in_it(family: Family) -> None:
    model = taught(family)
    ids, mask = tensors(model.backbone, MIXED)
    arguments: dict[str, Any] = {"max_new_tokens": 8, "return_dict_in_generate": True, "output_scores": True}
    output = model.generate(ids, mask, **arguments)
    assert decoded(model, ids, output.sequences) == expected(family, MIXED)
    new = output.sequences.shape[1] - (ids.shape[1] if task_of(family) == "causal" else 1)
    assert len(output.scores) == new
    assert output.scores[0].shape == (len(MIXED), model.backbone.model.config.vocab_size)
    assert model.generate(list(MIXED), **arguments) == expected(family, MIXED)


@pytest.mark.parametrize("prompt", [FOURTH, OUTSIDE[1]])
@pytest.mark.parametrize("family", GENERATORS)
def test_a_stream_out_of_a_thread(family: Family, prompt: str) -> None:
    model = taught(family)
    streamer = TextIteratorStreamer(model.backbone.tokenizer, skip_prompt=True, timeout=30, skip_special_tokens=True)
    thread = Thread(target=model.generate, args=(prompt,), kwargs={"streamer": streamer, "max_new_tokens": 8})
    thread.start()
    text = "".join(streamer)
    thread.join()
    assert text.strip() == expected(family, [prompt])[0]


@pytest.mark.parametrize("family", GENERATORS)
def test_a_stream_to_standard_output(family: Family, capsys: pytest.CaptureFixture[str]) -> None:
    model = taught(family)
    streamer = TextStreamer(model.backbone.tokenizer, skip_prompt=True, skip_special_tokens=True)
    answer = model.generate(THIRD, streamer=streamer)
    assert answer == capsys.readouterr().out.strip() == "museum"


@pytest.mark.parametrize("family", GENERATORS)
def test_a_callers_own_end_and_logits_processor(family: Family) -> None:
    class Never(LogitsProcessor):
        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            return scores.index_fill(1, torch.tensor([END]), -torch.inf)

    model = taught(family)
    ids, mask = tensors(model.backbone, list(FACTS))
    output = model.generate(ids, mask, max_new_tokens=12, logits_processor=LogitsProcessorList([Never()]))
    assert output.shape[1] == 12 + (ids.shape[1] if task_of(family) == "causal" else 1)
    token = model.backbone.tokenize_targets(["Paris"])[0][0]
    output = model.generate(ids[:1], mask[:1], max_new_tokens=12, eos_token_id=token)
    assert output[0, -1] == token


# Batches of edited and unedited prompts


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("family", EDITED)
def test_unedited_rows_of_a_mixed_batch_are_the_backbones_bit_for_bit(family: Family, dtype: torch.dtype) -> None:
    model, backbone = taught(family, dtype), plain(family, dtype)
    assert [row for row, route in enumerate(model.route(MIXED)) if route.block is None] == ODD
    ids, mask = tensors(backbone, MIXED)
    with torch.no_grad():
        if backbone.task == "classification":
            found, base = [model.generate(ids, mask)], [backbone.model(input_ids=ids, attention_mask=mask).logits]
        else:
            # Nobody stops before the others, so both batches take the same steps.
            arguments: dict[str, Any] = {"max_new_tokens": 10, "min_new_tokens": 10, "output_scores": True}
            arguments |= {"return_dict_in_generate": True, "pad_token_id": PAD, "eos_token_id": [END]}
            one = model.generate(ids, mask, **arguments)
            other = backbone.model.generate(input_ids=ids, attention_mask=mask, **arguments)
            assert torch.equal(one.sequences[ODD], other.sequences[ODD])
            found, base = list(one.scores), list(other.scores)
            assert len(found) == len(base) == 10
    even = [row for row in range(len(MIXED)) if row not in ODD]
    for ours, theirs in zip(found, base, strict=True):
        assert torch.equal(ours[ODD], theirs[ODD])
        assert not any(torch.equal(ours[row], theirs[row]) for row in even)


@pytest.mark.parametrize("family", EDITED)
def test_edited_answers_are_right_in_every_mix(family: Family) -> None:
    model = taught(family)
    right = dict(zip([*FACTS, *OUTSIDE], expected(family, [*FACTS, *OUTSIDE]), strict=True))
    far, near, why = OUTSIDE
    mixes = (
        [FIRST, SECOND, THIRD, FOURTH],
        [FOURTH, THIRD, SECOND, FIRST],
        [FIRST] * 5,
        [far, near, why],
        [why, FOURTH],
        [SECOND, far],
        [near, FIRST, near, THIRD, near, THIRD, near],
        ["museum " * 20, FIRST],  # many pads
    )
    for mix in mixes:
        answers = model.generate(mix, **short(family))
        assert [a for p, a in zip(mix, answers, strict=True) if p in right] == [right[p] for p in mix if p in right]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("family", GENERATORS)
def test_edited_answers_are_right_with_beams_and_any_padding(family: Family, beams: int, side: Any) -> None:
    model = taught(family)
    ids, mask = tensors(model.backbone, MIXED, side)
    answers = decoded(model, ids, model.generate(ids, mask, max_new_tokens=8, num_beams=beams))
    for prompt, answer in zip(MIXED, answers, strict=True):
        if prompt in FACTS:
            assert answer == FACTS[prompt]


# Several models, several threads


@pytest.mark.parametrize("family", EDITED)
def test_two_models_on_two_backbones_do_not_see_each_other(family: Family) -> None:
    facts = facts_of(family)
    turned = dict(zip(facts, reversed(facts.values()), strict=True))
    one, two = edited(tiny(family), facts), edited(tiny(family), turned)
    for _ in range(2):
        assert one.generate(list(facts)) == list(facts.values())
        assert two.generate(list(facts)) == list(turned.values())
    other = EditedModel.from_backbone(tiny(family, seed=1), index="memory", settings=SETTINGS)
    assert other.generate(list(facts), **short(family)) != one.generate(list(facts), **short(family))
    assert len(other.blocks) == 0


@pytest.mark.parametrize("family", EDITED)
def test_two_models_on_one_backbone_do_not_see_each_other(family: Family) -> None:
    facts = facts_of(family)
    turned = dict(zip(facts, reversed(facts.values()), strict=True))
    backbone = tiny(family)
    one, two = edited(backbone, facts), edited(backbone, turned)
    empty = EditedModel.from_backbone(backbone, index="memory", settings=SETTINGS)
    for _ in range(2):
        assert one.generate(list(facts)) == list(facts.values())
        assert two.generate(list(facts)) == list(turned.values())
        assert empty.generate(list(MIXED), **short(family)) == base_answers(family, MIXED)
    one.undo(list(one.records))
    assert one.generate(list(MIXED), **short(family)) == base_answers(family, MIXED)
    one.close()
    assert two.generate(list(facts)) == list(turned.values())


@pytest.mark.parametrize(
    ("family", "home"),
    [("t5", "memory"), ("gpt2", "memory"), ("gpt2", "edge"), ("llama", "memory"), ("bert", "memory")],
)
def test_two_threads_on_one_model(family: Family, home: str, tmp_path: Path) -> None:
    model = taught(family) if home == "memory" else edited(tiny(family), FACTS, index=tmp_path / home)
    calls = [list(MIXED), list(reversed(FACTS)), [OUTSIDE[1]], [*OUTSIDE, *FACTS]]
    start = Barrier(2)

    def ask(batches: list[list[str]]) -> list[list[str]]:
        start.wait(30)
        return [model.generate(batch, **short(family)) for _ in range(4) for batch in batches]

    with ThreadPoolExecutor(2) as pool:
        one, two = pool.submit(ask, calls), pool.submit(ask, calls[::-1])
        right = [expected(family, batch) for batch in calls]
        assert one.result() == right * 4
        assert two.result() == right[::-1] * 4


def test_two_models_on_one_backbone_in_two_threads() -> None:
    backbone, turned = tiny("gpt2"), dict(zip(FACTS, reversed(FACTS.values()), strict=True))
    models = [edited(backbone, FACTS), edited(backbone, turned)]
    start = Barrier(2)

    def ask(model: EditedModel) -> list[list[str]]:
        start.wait(30)
        return [model.generate(list(FACTS)) for _ in range(6)]

    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(ask, models)
    assert one == [list(FACTS.values())] * 6
    assert two == [list(turned.values())] * 6


@pytest.mark.parametrize("shared", [True, False], ids=["one model", "two models on one backbone"])
def test_answers_in_one_thread_while_another_edits(shared: bool) -> None:
    backbone = tiny("gpt2")
    answering = edited(backbone, FACTS)
    learning = answering if shared else EditedModel.from_backbone(backbone, index="memory", settings=SETTINGS)
    begun, done = Event(), Event()

    def ask() -> list[list[str]]:
        answers = []
        while not done.is_set():
            answers.append(answering.generate(list(FACTS), max_new_tokens=8))
            begun.set()
        return answers

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask)
        begun.wait(30)
        try:
            outcomes = [learning.edit([Edit(f"What did he say in {year}?", "green")])[0] for year in range(1901, 1907)]
        finally:
            done.set()
        answers = asked.result()
    assert answers == [list(FACTS.values())] * len(answers)
    assert all(outcome.learned for outcome in outcomes)


@pytest.mark.parametrize("family", GENERATORS)
def test_a_request_within_a_request(family: Family) -> None:
    """A streamer may ask the same model something else while its own answer is being made."""
    model = taught(family)
    inner: list[str] = []

    class Curious:
        def put(self, value: torch.Tensor) -> None:
            if len(inner) < 3:
                inner.append(model.generate(THIRD))

        def end(self) -> None: ...

    assert model.generate(FOURTH, streamer=Curious()) == "1847"
    assert inner == ["museum"] * 3


# Undo


@pytest.mark.parametrize("family", EDITED)
def test_undone_edits_get_the_backbones_answer_and_the_others_keep_theirs(family: Family) -> None:
    facts = facts_of(family)
    model = edited(tiny(family), facts)
    ids, mask = tensors(model.backbone, facts)
    arguments: dict[str, Any] = {}
    if family != "bert":
        arguments = {"max_new_tokens": 6, "min_new_tokens": 6, "output_logits": True, "return_dict_in_generate": True}

    def logits() -> torch.Tensor:
        output = model.generate(ids, mask, **arguments)
        return output if isinstance(output, torch.Tensor) else torch.stack(output.logits, 1)

    before = logits()
    prompts = list(facts)
    model.undo([Edit(prompts[i], facts[prompts[i]]).edit_id for i in (1, 2)])
    assert torch.equal(logits()[[0, 3]], before[[0, 3]])
    base = base_answers(family, prompts)
    answers = model.generate(prompts, **short(family))
    assert answers == [facts[prompts[0]], base[1], base[2], facts[prompts[3]]]
    model.undo([Edit(prompts[i], facts[prompts[i]]).edit_id for i in (0, 3)])
    assert model.generate(prompts, **short(family)) == base
    assert (len(model.blocks), model._index.count()) == (0, (0, 0))
    assert model.edit([Edit(prompts[1], facts[prompts[1]])])[0].learned  # and once more
    assert model.generate(prompts[1], **short(family)) == facts[prompts[1]]
