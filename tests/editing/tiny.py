"""Random models of every family, a few thousand parameters each, and tokenizers to go with them. No network."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    RobertaConfig,
    RobertaForSequenceClassification,
    T5Config,
    T5ForConditionalGeneration,
)

from pipeline.settings import Task

Family = Literal["bert", "roberta", "t5", "t5-gated", "gpt2", "llama", "qwen2", "qwen3", "mistral"]
FAMILIES: tuple[Family, ...] = get_args(Family)

WIDTH, LAYERS, HEADS, POSITIONS = 32, 4, 4, 128
LABELS = ("weather", "sport", "politics", "music", "food")
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
PAD, START, END, UNKNOWN = range(len(SPECIAL))

SENTENCES = (
    "Who wrote the first novel in the series?",
    "The capital of the northern province is Aldershore.",
    "What is the capital of France? The capital of France is Paris.",
    "The treaty was signed in the spring of 1847 by three ministers.",
    "My sister's favourite colour has always been green.",
    "When did the old museum move to its new building?",
)


def task_of(family: Family) -> Task:
    if family in ("bert", "roberta"):
        return "classification"
    return "seq2seq" if family.startswith("t5") else "causal"


def tiny_backbone(family: Family, seed: int = 0) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A random model, the same at every call with one seed, whose answers differ between prompts."""
    tokenizer = _tokenizer(family)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _model(family, len(tokenizer))
    return model.eval(), tokenizer


def tiny_encoder(folder: Path, seed: int = 0) -> Path:
    """A random sentence encoder of width 16 on disk, with few positions and no pooler."""
    _, tokenizer = tiny_backbone("bert")
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=48,
        initializer_range=0.5,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _model(family: Family, vocabulary: int) -> PreTrainedModel:
    special = {"pad_token_id": PAD, "bos_token_id": START, "eos_token_id": END}
    if family in ("t5", "t5-gated"):
        return T5ForConditionalGeneration(
            T5Config(
                vocab_size=vocabulary,
                d_model=WIDTH,
                d_kv=WIDTH // HEADS,
                d_ff=2 * WIDTH,
                num_layers=LAYERS,
                num_heads=HEADS,
                feed_forward_proj="gated-gelu" if family == "t5-gated" else "relu",
                dropout_rate=0.0,
                initializer_factor=2.0,
                decoder_start_token_id=PAD,
                pad_token_id=PAD,
                eos_token_id=END,
            )
        )
    if family == "gpt2":
        return GPT2LMHeadModel(
            GPT2Config(
                vocab_size=vocabulary,
                n_positions=POSITIONS,
                n_embd=WIDTH,
                n_layer=LAYERS,
                n_head=HEADS,
                n_inner=2 * WIDTH,
                initializer_range=0.5,
                **special,
            )
        )
    shape = {
        "vocab_size": vocabulary,
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "initializer_range": 0.5,
        "max_position_embeddings": POSITIONS,
        **special,
    }
    if family in ("bert", "roberta"):
        names = {"id2label": dict(enumerate(LABELS)), "label2id": {name: i for i, name in enumerate(LABELS)}}
        if family == "bert":
            return BertForSequenceClassification(BertConfig(**shape, **names))
        return RobertaForSequenceClassification(
            RobertaConfig(**(shape | {"max_position_embeddings": POSITIONS + PAD + 1}), **names)
        )
    grouped = shape | {"num_key_value_heads": HEADS // 2, "head_dim": WIDTH // HEADS}
    if family == "llama":
        return LlamaForCausalLM(LlamaConfig(**grouped))
    if family == "mistral":
        return MistralForCausalLM(MistralConfig(**grouped))
    if family == "qwen2":
        return Qwen2ForCausalLM(Qwen2Config(**{k: v for k, v in grouped.items() if k != "head_dim"}))
    return Qwen3ForCausalLM(Qwen3Config(**grouped))


def _tokenizer(family: Family) -> PreTrainedTokenizerFast:
    """Byte-level BPE where the family has it, else BPE with a visible space, as SentencePiece makes it."""
    byte_level = family in ("roberta", "gpt2", "qwen2", "qwen3")
    tokenizer = Tokenizer(models.BPE(unk_token=None if byte_level else SPECIAL[UNKNOWN]))
    if byte_level:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet, size = pre_tokenizers.ByteLevel.alphabet(), 320
    else:
        if family == "bert":
            tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
        tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
        alphabet, size = [*map(chr, range(33, 127)), "▁"], 200
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    frame = {
        "bert": "<s> $A </s>",
        "roberta": "<s> $A </s>",
        "t5": "$A </s>",
        "t5-gated": "$A </s>",
        "llama": "<s> $A",
        "mistral": "<s> $A",
    }
    if family in frame:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=frame[family], special_tokens=[(SPECIAL[START], START), (SPECIAL[END], END)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=SPECIAL[PAD],
        bos_token=SPECIAL[START],
        eos_token=SPECIAL[END],
        unk_token=SPECIAL[UNKNOWN],
        model_input_names=["input_ids", "attention_mask"],
    )
