"""Answering with exported adapters: this project says which adapter a prompt needs, and PEFT answers with it.

    melo export --to exported
    python -m pipeline.example.serving exported "What is the capital of Australia?" "What is the capital of France?"

It needs ``pip install peft``. vLLM takes the adapter with the request, for the models that it serves with LoRA (Llama
and its kin; no T5 or BERT); its ``max_lora_rank`` is one of 8, 16, 32, ... and at least the adapters' rank:

    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    edited = EditedModel.load("exported/version", index="memory", device="cpu")  # routes, and answers nothing itself
    backbone = edited.backbone
    llm = LLM(model=backbone.reference, enable_lora=True, max_lora_rank=8, max_loras=4, max_cpu_loras=256)
    greedy = SamplingParams(temperature=0, max_tokens=64, stop_token_ids=sorted(backbone.end_tokens))
    for tokens, route in zip(backbone.tokenize_prompts(prompts), edited.route(prompts)):
        request = None
        if route.block is not None:  # the id is any number from 1 on that no other adapter has
            name = adapter_name(route.block)
            request = LoRARequest(name, route.block + 1, f"exported/adapters/{name}")
        answer, = llm.generate([{"prompt_token_ids": tokens}], greedy, lora_request=request)
        print(answer.outputs[0].text)

What is routed must be what is answered: where a chat template is put around prompts, edits are taught with it too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import typer
from peft import PeftModel

from pipeline.editing.backbone import Backbone
from pipeline.editing.model import EditedModel
from pipeline.export.adapters import adapter_name
from pipeline.export.folder import ADAPTERS, VERSION, read_export

ALONE = "__base__"
"""PEFT's name for the model without adapters, in a batch whose rows have different ones."""


class Serving:
    """An export in use. Adapters are read when the first prompt needs them; one backbone routes and answers.

    Args:
        folder: what ``melo export`` wrote.
        backbone: where it lies elsewhere than the version says.

    Raises:
        ExportError: the folder is no export.
        CheckpointError: a file is missing or was changed, or the backbone is another one.
    """

    def __init__(self, folder: Path, backbone: Backbone | None = None) -> None:
        read_export(folder)
        self._adapters = folder / ADAPTERS
        self._edited = EditedModel.load(folder / VERSION, backbone=backbone, index="memory")
        self._peft: PeftModel | None = None

    def adapters(self, prompts: Sequence[str]) -> list[str]:
        """The adapter that each prompt needs, which PEFT has when this returns; ``ALONE`` outside every scope."""
        routes = self._edited.route(prompts)
        names = [ALONE if route.block is None else adapter_name(route.block) for route in routes]
        for name in dict.fromkeys(names):
            if name == ALONE:
                continue
            if self._peft is None:
                base = self._edited.backbone.model
                self._peft = PeftModel.from_pretrained(base, str(self._adapters / name), adapter_name=name).eval()
            elif name not in self._peft.peft_config:
                self._peft.load_adapter(str(self._adapters / name), adapter_name=name)
        return names

    @torch.no_grad()
    def answer(self, prompts: Sequence[str], new_tokens: int = 64) -> list[str]:
        """Greedy answers, of a classifier the names of the classes: one batch, each row with its own adapter."""
        backbone, names = self._edited.backbone, self.adapters(prompts)
        ids, mask = backbone.pad(backbone.tokenize_prompts(prompts), side=backbone.padding_side)
        model, given = (self._peft, {"adapter_names": names}) if self._peft else (backbone.model, {})
        if backbone.task == "classification":
            logits = model(input_ids=ids, attention_mask=mask, **given).logits  # [b, labels]
            return [backbone.labels[label] for label in logits.argmax(-1).tolist()]
        given |= backbone.generation_defaults | {"do_sample": False, "num_beams": 1, "max_new_tokens": new_tokens}
        first = ids.shape[1] if backbone.task == "causal" else 0
        answers = model.generate(input_ids=ids, attention_mask=mask, **given)[:, first:]  # [b, s]
        return [backbone.decode_answer(row) for row in answers.tolist()]

    def close(self) -> None:
        """Closes the router."""
        self._edited.close()


def main(folder: Path, prompts: list[str]) -> None:
    """Prints every prompt with its adapter and the answer."""
    serving = Serving(folder)
    for prompt, adapter, answer in zip(prompts, serving.adapters(prompts), serving.answer(prompts), strict=True):
        print(f"{prompt}\n  {adapter}: {answer}")
    serving.close()


if __name__ == "__main__":
    typer.run(main)
