from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from pipeline.editing.backbone import Backbone, BackboneError
from pipeline.editing.check import check_edits
from pipeline.editing.edit import Edit, EditError
from pipeline.editing.loading import from_objects, load_backbone
from tests.editing.tiny import END, FAMILIES, LABELS, PAD, Family, task_of, tiny_backbone

Build = Callable[..., tuple[PreTrainedModel, PreTrainedTokenizerFast]]
PROMPTS = ["Who wrote the first novel?", "The capital of France is", "Paris"]


def tiny(family: Family, seed: int = 0) -> Backbone:
    model, tokenizer = tiny_backbone(family, seed)
    return from_objects(model, tokenizer, task_of(family), f"tiny-{family}")


def answers(backbone: Backbone, prompts: list[str], tokens: int = 16) -> list[list[int]]:
    ids, mask = backbone.pad(backbone.tokenize_prompts(prompts), backbone.padding_side)
    output = backbone.model.generate(
        input_ids=ids,
        attention_mask=mask,
        max_new_tokens=tokens,
        do_sample=False,
        pad_token_id=backbone.pad_token_id,
    )
    return output[:, ids.shape[1] if backbone.task == "causal" else 1 :].tolist()


GPT2, LLAMA, T5, BERT = tiny("gpt2"), tiny("llama"), tiny("t5"), tiny("bert")


# Real models


def test_gpt2_says_its_facts_in_our_conventions(
    shared_model: Callable[[str], Path], shared_rows: Callable[..., list[dict[str, Any]]]
) -> None:
    backbone = load_backbone(shared_model("gpt2-counterfact"), "causal", device="cpu")
    rows = shared_rows("counterfact", 50)
    prompts, truths = [row["prompt"] for row in rows], [row["ground_truth"] for row in rows]
    said = answers(backbone, prompts)
    wanted = backbone.tokenize_targets(truths, prompts)
    assert sum(answer[: len(target)] == target for answer, target in zip(said, wanted, strict=True)) >= 49
    assert sum(backbone.decode_answer(answer) == truth for answer, truth in zip(said, truths, strict=True)) >= 49
    assert all(target[-1] == backbone.end_token and target.count(backbone.end_token) == 1 for target in wanted)


def test_t5_says_its_facts_in_our_conventions(
    shared_model: Callable[[str], Path], shared_rows: Callable[..., list[dict[str, Any]]]
) -> None:
    backbone = load_backbone(shared_model("t5-zsre"), "seq2seq", device="cpu")
    rows = shared_rows("zsre_known", 20)
    said = answers(backbone, [row["prompt"] for row in rows])
    wanted = backbone.tokenize_targets([row["target"] for row in rows])
    assert sum(answer[: len(target)] == target for answer, target in zip(said, wanted, strict=True)) >= 19
    assert backbone.max_prompt_tokens is None


@given(
    prompt=st.text("abc XYZ.?!12\n", min_size=1).filter(str.strip),
    target=st.text("abc XYZ.?!12\n", min_size=1).filter(str.strip),
)
def test_prompt_and_target_of_a_sentencepiece_model_read_as_one_text(
    stories: Backbone, prompt: str, target: str
) -> None:
    _assert_reads_as_one_text(stories, prompt, target)


@pytest.fixture(scope="session")
def stories(shared_model: Callable[[str], Path]) -> Backbone:
    return load_backbone(shared_model("stories260k"), "causal", device="cpu")


def test_a_sentencepiece_target_is_what_the_model_would_read(stories: Backbone) -> None:
    prompt, target = "Once upon a time, there was a", "little girl"
    assert stories.tokenize_prompts([f"{prompt} {target}"]) == [
        stories.tokenize_prompts([prompt])[0] + stories.tokenize_targets([target], [prompt])[0][:-1]
    ]


def test_real_minilm_has_no_classifier_to_load(minilm: Path) -> None:
    with pytest.raises(BackboneError, match=r"lacks 2 weights of BertForSequenceClassification.*train that head"):
        load_backbone(minilm, "classification")


# Loading


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_backbone_comes_back_frozen_and_the_same(family: Family, tmp_path: Path) -> None:
    made = tiny(family)
    made.model.save_pretrained(tmp_path)
    made.tokenizer.save_pretrained(tmp_path)
    loaded = load_backbone(str(tmp_path), task_of(family), device="cpu")
    assert loaded.reference == str(tmp_path)
    assert not loaded.model.training
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert loaded.digest == made.digest
    assert loaded.tokenize_prompts(PROMPTS) == made.tokenize_prompts(PROMPTS)
    told = load_backbone(tmp_path, device="cpu", dtype=torch.bfloat16)
    assert (told.dtype, told.task) == (torch.bfloat16, task_of(family))


def test_a_pickled_checkpoint_is_not_opened(tmp_path: Path) -> None:
    GPT2.model.config.save_pretrained(tmp_path)
    GPT2.tokenizer.save_pretrained(tmp_path)
    torch.save(GPT2.model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(BackboneError, match=r"no \*\.safetensors.*convert it"):
        load_backbone(tmp_path, "causal")


def test_code_that_a_checkpoint_brings_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, trace = tmp_path / "model", tmp_path / "was-run"
    for part in (GPT2.model, GPT2.tokenizer):
        part.save_pretrained(folder)
    (folder / "evil.py").write_text(f"import pathlib\npathlib.Path({str(trace)!r}).touch()\nclass Evil: pass\n")
    config = json.loads((folder / "config.json").read_text())
    named = {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil", "AutoTokenizer": ["evil.Evil", None]}
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": named, "model_type": "evil"}))
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # transformers asks on a terminal
    for task in ("causal", None):
        with pytest.raises(BackboneError, match="code of its own, which is never run"):
            load_backbone(folder, task)
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": named}))
    load_backbone(folder, "causal", device="cpu")  # of a known architecture: by the library's own code
    assert not trace.exists()


@pytest.mark.parametrize(
    ("reference", "complaint"),
    [
        ("/no/such/directory", r"No directory /no/such/directory"),
        ("./here", r"No directory \./here"),
        ("models/of/mine", r"No directory models/of/mine"),
        ("nobody/has-this-model", r"not a directory here, and the hub did not give it"),
    ],
)
def test_what_is_not_there_is_named(reference: str, complaint: str) -> None:
    with pytest.raises(BackboneError, match=complaint):
        load_backbone(reference, "causal")


def test_a_checkpoint_of_another_kind_is_refused(tmp_path: Path) -> None:
    T5.model.save_pretrained(tmp_path)
    T5.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(BackboneError, match=r"for task 'causal' \(a directory\)"):
        load_backbone(tmp_path, "causal")
    with pytest.raises(BackboneError, match="Unknown task 'poetry'"):
        load_backbone(tmp_path, "poetry")  # type: ignore[arg-type]


def test_a_model_in_hand_must_do_the_task() -> None:
    with pytest.raises(BackboneError, match="BertForSequenceClassification is for task 'classification'"):
        from_objects(BERT.model, BERT.tokenizer, "causal", "tiny")
    with pytest.raises(BackboneError, match="is for task 'seq2seq'"):
        from_objects(T5.model, T5.tokenizer, "causal", "tiny")


# The tokenizer


def test_the_callers_tokenizer_is_left_alone(tiny_backbone: Build) -> None:
    model, tokenizer = tiny_backbone("gpt2")
    tokenizer.pad_token = None
    before = tokenizer.padding_side, tokenizer.pad_token, len(tokenizer)
    backbone = from_objects(model, tokenizer, "causal", "tiny")
    assert (tokenizer.padding_side, tokenizer.pad_token, len(tokenizer)) == before
    assert (backbone.tokenizer.padding_side, backbone.pad_token_id) == ("left", END)
    assert model.get_input_embeddings().num_embeddings == len(tokenizer)


def test_a_pad_token_without_an_embedding_is_not_used(tiny_backbone: Build) -> None:
    model, tokenizer = tiny_backbone("gpt2")
    tokenizer.add_special_tokens({"pad_token": "<added>"})
    assert tokenizer.pad_token_id == model.get_input_embeddings().num_embeddings
    backbone = from_objects(model, tokenizer, "causal", "tiny")
    assert backbone.pad_token_id == END
    assert answers(backbone, PROMPTS, tokens=2)


def test_a_tokenizer_with_nothing_to_pad_with_is_refused(tiny_backbone: Build) -> None:
    model, tokenizer = tiny_backbone("gpt2")
    tokenizer.pad_token = tokenizer.eos_token = tokenizer.unk_token = tokenizer.bos_token = None
    with pytest.raises(BackboneError, match=r"set tokenizer\.pad_token"):
        from_objects(model, tokenizer, "causal", "tiny")


def test_a_model_without_an_end_is_refused(tiny_backbone: Build) -> None:
    model, tokenizer = tiny_backbone("gpt2")
    tokenizer.eos_token = None
    model.generation_config.eos_token_id = None
    with pytest.raises(BackboneError, match="end token"):
        from_objects(model, tokenizer, "causal", "tiny")


def test_a_target_ends_where_generation_stops(tiny_backbone: Build) -> None:
    model, tokenizer = tiny_backbone("gpt2")
    model.generation_config.eos_token_id = [7, 9]
    backbone = from_objects(model, tokenizer, "causal", "tiny")
    assert backbone.end_tokens == {END, 7, 9}
    assert backbone.tokenize_targets(["Paris"])[0][-1] == 7


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_is_on_the_tasks_side_and_masked(family: Family) -> None:
    backbone = tiny(family)
    rows = backbone.tokenize_prompts(PROMPTS)
    ids, mask = backbone.pad(rows, backbone.padding_side)
    assert ids.dtype == mask.dtype == torch.int64
    for row, padded, real in zip(rows, ids, mask, strict=True):
        width = len(row)
        place = slice(len(padded) - width, None) if backbone.task == "causal" else slice(0, width)
        assert padded[place].tolist() == row
        assert real[place].all()
        assert int(real.sum()) == width
    assert torch.equal(backbone.infer_mask(ids), mask)


def test_masks_are_inferred_at_the_ends_only() -> None:
    ids = torch.tensor([[PAD, PAD, 5, PAD, 6], [5, 6, 7, PAD, PAD], [5, PAD, PAD, PAD, 6]])
    mask = GPT2.infer_mask(ids)
    assert mask.tolist() == [[0, 0, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    moved, moved_mask = GPT2.aligned(ids, mask)
    assert moved.tolist() == [[PAD, PAD, 5, PAD, 6], [PAD, PAD, 5, 6, 7], [5, PAD, PAD, PAD, 6]]
    assert moved_mask.tolist() == [[0, 0, 1, 1, 1], [0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]
    with pytest.raises(ValueError, match=r"Rows \[1\]"):
        GPT2.infer_mask(torch.tensor([[5, PAD], [PAD, PAD]]))


@pytest.mark.parametrize("family", FAMILIES)
def test_encoding_reads_the_prompt_as_the_whole_model_does(family: Family) -> None:
    backbone = tiny(family)
    ids, mask = backbone.pad(backbone.tokenize_prompts(PROMPTS), "right")
    with torch.no_grad():
        hidden = backbone.encode(ids, mask)
        extra = {"decoder_input_ids": ids[:, :1]} if backbone.task == "seq2seq" else {}
        whole = backbone.model(input_ids=ids, attention_mask=mask, output_hidden_states=True, **extra)
    last = whole.encoder_last_hidden_state if backbone.task == "seq2seq" else whole.hidden_states[-1]
    assert torch.equal(hidden, last)


def test_an_end_that_the_tokenizer_adds_is_not_part_of_a_causal_prompt(tiny_backbone: Build) -> None:
    model, _ = tiny_backbone("llama")
    _, ending = tiny_backbone("t5")  # the same vocabulary, with an end after every text
    backbone = from_objects(model, ending, "causal", "tiny")
    assert backbone.tokenize_prompts(PROMPTS) == [row[1:] for row in LLAMA.tokenize_prompts(PROMPTS)]
    assert backbone.tokenize_targets(["Paris"]) == LLAMA.tokenize_targets(["Paris"])


def _assert_reads_as_one_text(backbone: Backbone, prompt: str, target: str) -> None:
    joint = "" if prompt[-1].isspace() or target[0].isspace() else " "
    (before,), (after,) = backbone.tokenize_prompts([prompt]), backbone.tokenize_targets([target], [prompt])
    assert after[-1] == backbone.end_token
    assert backbone.end_tokens.isdisjoint(after[:-1])
    decoded = backbone.tokenizer.decode(
        before + after[:-1], skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    assert decoded.lstrip() == (prompt + joint + target).lstrip()
    assert backbone.decode_answer(after) == target.strip()


@given(
    prompt=st.text(min_size=1, max_size=12).filter(str.strip),
    target=st.text(min_size=1, max_size=12).filter(str.strip),
)
def test_prompt_and_target_of_a_byte_level_model_read_as_one_text(prompt: str, target: str) -> None:
    _assert_reads_as_one_text(GPT2, prompt, target)


@given(prompt=st.text("abcXYZ .,?'12", min_size=1).filter(str.strip), target=st.text("abcXYZ .,?'12").filter(str.strip))
def test_prompt_and_target_of_a_model_with_visible_spaces_read_as_one_text(prompt: str, target: str) -> None:
    _assert_reads_as_one_text(LLAMA, prompt, target)


def test_a_tokenizer_that_collapses_white_space_needs_no_anchor(tiny_backbone: Build) -> None:
    model, _ = tiny_backbone("llama")
    words = ["<pad>", "<s>", "</s>", "<unk>", "▁The", "▁capital", "▁is", "▁Paris"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Strip()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", bos_token="<s>", unk_token="<unk>"
    )
    backbone = from_objects(model, wrapped, "causal", "tiny")
    assert backbone.tokenize_targets(["Paris"]) == [[words.index("▁Paris"), END]]


def test_a_seq2seq_target_has_its_end_once() -> None:
    (plain,) = T5.tokenize_targets(["Paris"])
    assert plain[-1] == END
    assert plain.count(END) == 1
    assert T5.tokenize_targets(["Paris</s>"]) == [plain]


def test_an_answer_is_read_up_to_its_first_end() -> None:
    (target,) = GPT2.tokenize_targets(["Paris"])
    assert GPT2.decode_answer([*target, *target]) == "Paris"
    assert GPT2.decode_answer(torch.tensor(target[:-1])) == "Paris"
    assert GPT2.decode_answer([END, *target]) == ""


# Classifiers


def test_labels_are_found_by_their_normalised_name() -> None:
    assert BERT.labels == LABELS
    assert GPT2.labels == ()
    assert BERT.tokenize_targets([" SPORT ", "Food"]) == [[1], [4]]
    assert BERT.decode_answer([1]) == "sport"
    with pytest.raises(EditError, match=r"no class 'sports'; near ones are 'sport'"):
        BERT.label_id("sports")
    with pytest.raises(EditError, match=r"no class 'zzzz'; near ones are 'weather', 'sport'"):
        BERT.label_id("zzzz")


# The digest


def test_the_digest_sees_every_weight_and_nothing_else() -> None:
    same, other = tiny("qwen2"), tiny("qwen2", seed=1)
    assert same.digest == tiny("qwen2").digest
    assert len(same.digest) == 64
    assert other.digest != same.digest
    model = copy.deepcopy(same.model)
    with torch.no_grad():
        model.model.norm.weight[3] += 1e-3
    assert from_objects(model, same.tokenizer, "causal", "tiny").digest != same.digest


def test_the_digest_takes_in_dtype_and_buffers() -> None:
    base = tiny("gpt2")
    narrow = from_objects(copy.deepcopy(base.model).to(torch.bfloat16), base.tokenizer, "causal", "tiny")
    assert narrow.dtype == torch.bfloat16
    widened = from_objects(copy.deepcopy(narrow.model).float(), base.tokenizer, "causal", "tiny")
    buffered = copy.deepcopy(base.model)
    buffered.register_buffer("steps", torch.zeros((), dtype=torch.bool))
    marked = from_objects(buffered, base.tokenizer, "causal", "tiny")
    assert len({base.digest, narrow.digest, widened.digest, marked.digest}) == 4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_digest_is_the_same_on_a_gpu() -> None:
    base = tiny("gpt2")
    moved = from_objects(copy.deepcopy(base.model).cuda(), base.tokenizer, "causal", "tiny")
    assert moved.device.type == "cuda"
    assert moved.digest == base.digest


# Refusals


@pytest.mark.parametrize(("family", "limit"), [("bert", 128), ("roberta", 128), ("gpt2", 128), ("llama", 128)])
def test_the_longest_prompt_still_runs_and_the_next_is_refused(family: Family, limit: int) -> None:
    backbone = tiny(family)
    assert backbone.max_prompt_tokens == limit
    around = len(backbone.tokenize_prompts(["?"])[0]) - 1
    longest = "?" * limit
    while True:
        try:
            (row,) = backbone.tokenize_prompts([longest])
            break
        except EditError as error:
            assert f"reads at most {limit}" in str(error)
            longest = longest[:-1]
    assert len(row) == limit
    assert len(longest) <= limit - around + 1
    ids, mask = backbone.pad([row], "right")
    assert torch.isfinite(backbone.encode(ids, mask)).all()


@pytest.mark.parametrize(
    ("backbone", "edit", "complaint"),
    [
        (GPT2, Edit("", "Paris"), r"Edit 1 \(prompt ''\) needs text as its prompt: '' came"),
        (GPT2, Edit(" \n", "Paris"), r"needs text as its prompt"),
        (GPT2, Edit("Q", "\t"), r"Edit 1 \(prompt 'Q'\) needs text as its target"),
        (GPT2, Edit(5, "Paris"), r"needs text as its prompt: 5 came"),  # type: ignore[arg-type]
        (GPT2, Edit("Q", None), r"needs text as its target: None came"),  # type: ignore[arg-type]
        (GPT2, Edit("Q", "</s>"), r"Edit [0-9a-f]{32} \(prompt 'Q'\): the target '</s>' has no token but special"),
        (T5, Edit("Q", "<pad> <unk>"), r"has no token but special"),
        (T5, Edit("Q", "</s>Paris"), r"has an end token before its end"),
        (GPT2, Edit("?!" * 70, "Paris"), r"\(prompt '\?!.*\.\.\.\): Prompt .* has \d+ tokens, but the model reads"),
        (GPT2, Edit("Q", "?!" * 70), r"prompt and target have 1 \+ \d+ tokens, but the model reads at most 128"),
        (BERT, Edit("Q", "sports"), r"Edit [0-9a-f]{32} \(prompt 'Q'\): The classifier has no class 'sports'.*'sport'"),
        (GPT2, Edit("The  capital is", "PARIS"), r"comes twice, at 0 and 1"),
        (GPT2, "The capital is", r"Item 1 is a str: expected an Edit"),
    ],
)
def test_edits_that_cannot_be_made_are_named(backbone: Backbone, edit: Any, complaint: str) -> None:
    first = Edit("the capital is", "paris" if backbone.task != "classification" else "sport")
    check_edits(backbone, [first])
    with pytest.raises(EditError, match=complaint):
        check_edits(backbone, [first, edit])


def test_what_can_be_made_passes() -> None:
    check_edits(T5, [Edit("Q" * 3000, "Paris"), Edit("The capital is", "Paris"), Edit("The capital is", "Lyon")])
    check_edits(BERT, [Edit("rain", "Weather"), Edit("goal", "sport")])
    check_edits(GPT2, [])


def test_prompts_are_text_with_tokens() -> None:
    with pytest.raises(EditError, match="A prompt is text, but int came: 5"):
        GPT2.tokenize_prompts(["fine", 5])  # type: ignore[list-item]
    with pytest.raises(EditError, match="at least one token"):
        GPT2.tokenize_prompts([""])
    assert GPT2.tokenize_prompts([]) == []


# The tiny models themselves


@pytest.mark.parametrize("family", FAMILIES)
def test_tiny_models_answer_different_prompts_differently(family: Family) -> None:
    backbone = tiny(family)
    if backbone.task == "classification":
        prompts = ["Paris", "Who wrote it?", "green", "My sister", "The treaty", "1847", "novel series", "a museum"]
        ids, mask = backbone.pad(backbone.tokenize_prompts(prompts), "right")
        said = [[label] for label in backbone.model(input_ids=ids, attention_mask=mask).logits.argmax(-1).tolist()]
    else:
        said = answers(backbone, PROMPTS, tokens=6)
    assert len({tuple(answer) for answer in said}) >= 2
