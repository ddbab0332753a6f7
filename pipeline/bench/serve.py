"""``melo bench serve``: requests a second and waits over HTTP, with edits, without any, and of the bare backbone.

Three servers of the same kind stand side by side in this process, each on a backbone of its own; clients in another
process ask one after the other, round by round. They send what no edit is about, where all three say the same, and what
was edited, where answers and their lengths differ.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import typer
import uvicorn
from rich.console import Console, RenderableType
from transformers.utils import logging

from pipeline.bench import measure as clock
from pipeline.bench import report
from pipeline.bench.material import gather
from pipeline.bench.study.commands import wide
from pipeline.editing.backbone import Backbone
from pipeline.editing.edit import Route
from pipeline.editing.loading import load_backbone
from pipeline.editing.model import EditedModel
from pipeline.editing.records import Records
from pipeline.errors import MeloError
from pipeline.registry.tracking import Registry
from pipeline.serving.app import make_app
from pipeline.serving.champion import Champion, Served
from pipeline.settings import Settings
from pipeline.telling import Advance, Teller

EDITS, REQUESTS, CLIENTS, ROUNDS, TOKENS = 300, 200, 8, 5, 16
BARE, EMPTY, EDITED = "backbone", "no edits", "edits"
OTHERS, TAUGHT = "what no edit is about", "what was edited"


@dataclass(frozen=True, slots=True)
class Load:
    """How one server did with one sort of requests.

    Attributes:
        server: ``BARE``, ``EMPTY`` or ``EDITED``.
        sort: ``OTHERS`` or ``TAUGHT``.
        per_second: requests answered; median of the rounds.
        of_backbone: the same as a share of the bare backbone's in the same round; median.
        p50_ms, p99_ms: how long a request waits, over all rounds.
    """

    server: str
    sort: str
    per_second: float
    of_backbone: float
    p50_ms: float
    p99_ms: float


class _Bare:
    """A backbone that generates as an edited model lets it, with nothing between."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone
        self.records = Records()  # of no edit

    def respond(self, prompts: Sequence[str], max_new_tokens: int) -> list[tuple[str, Route]]:
        backbone = self.backbone
        ids, mask = backbone.pad(backbone.tokenize_prompts(prompts), side=backbone.padding_side)
        arguments = backbone.generation_defaults | {"max_new_tokens": max_new_tokens}
        with torch.no_grad():
            output = backbone.model.generate(input_ids=ids, attention_mask=mask, **arguments)
        first = ids.shape[1] if backbone.task == "causal" else 0
        return [(backbone.decode_answer(row), Route()) for row in output[:, first:].tolist()]


class _Standing(Champion):
    """One model for ever."""

    def __init__(self, model: EditedModel | _Bare) -> None:
        super().__init__(cast(Registry, None), every=1.0)
        self._served = Served(0, "", cast(EditedModel, model), 0)

    def start(self) -> None:
        """It is there."""

    def close(self) -> None:
        """Who made the model closes it."""


def main(
    *,
    backbone: Path | None = None,
    reports: Path | None = None,
    edits: int = EDITS,
    requests: int = REQUESTS,
    clients: int = CLIENTS,
    rounds: int = ROUNDS,
    as_json: bool = False,
    seed: int = 0,
) -> None:
    """Measures and prints a table, or one JSON object.

    Args:
        backbone: folder of a model; without it model and edits of the shared folder.
        reports: file of edits, see ``material.gather``; what no edit is about comes from the file itself.
        edits: how many are taught.
        requests: of each sort, a round and a server; a prompt each.
        clients: that ask at the same time.
        rounds: in which every server is asked once.
        as_json: print nothing but one JSON object.
        seed: of the edits drawn and of the blocks.

    Raises:
        typer.BadParameter: there is nothing to measure on, or it cannot be edited.
    """
    logging.disable_progress_bar()
    shown, teller = wide(Console(quiet=as_json, markup=False)), Teller(Console(stderr=True, markup=False))
    settings = Settings().editing.model_copy(update={"seed": seed})
    try:
        material = gather(backbone, reports, None, 2 * edits, 0, seed)
        taught, others = material.edits[:edits], material.edits[edits:]
        if not others:
            raise typer.BadParameter(f"{len(material.edits)} edits are there, expected more than the {edits} to teach")
        machine = clock.this_machine(material.backbone.device)
        refused = material.refused
        frame = report.Frame(machine, material.sources, material.backbone.task, len(taught), refused, seed)
        shown.print(report.heading(frame))
        with ExitStack() as opened, clock.threads(1):
            models: dict[str, EditedModel | _Bare] = {BARE: _Bare(material.backbone)}
            for name in (EMPTY, EDITED):
                own = load_backbone(material.backbone.reference, material.backbone.task)
                model = EditedModel.from_backbone(own, settings=settings, index="memory")
                opened.callback(model.close)
                models[name] = model
                if name == EDITED:
                    model.edit(taught)
            traffic = {
                OTHERS: _bodies([edit.prompt for edit in others], requests),
                TAUGHT: _bodies([edit.prompt for edit in taught], requests),
            }
            with teller.track(f"{rounds} rounds", rounds) as advance:
                found = measure(models, traffic, clients, rounds, advance)
    except MeloError as error:
        raise typer.BadParameter(str(error)) from error
    shown.print(table(found, clients))
    if as_json:
        told = {"clients": clients, "requests": requests, "rounds": rounds, "loads": [asdict(each) for each in found]}
        print(json.dumps(asdict(frame) | told, indent=2))


def measure(
    models: Mapping[str, EditedModel | _Bare],
    traffic: Mapping[str, list[dict[str, Any]]],
    clients: int,
    rounds: int,
    advance: Advance,
) -> list[Load]:
    """Asks all servers in turn, ``rounds`` times; the first round is not counted, for it finds all cold.

    Args:
        models: by name of the server; ``BARE`` among them.
        traffic: bodies of requests by their sort.
        clients: that ask at the same time.
        rounds: that count.
        advance: told of rounds that are done.
    """
    speeds: dict[tuple[str, str], list[float]] = {(name, sort): [] for sort in traffic for name in models}
    waits: dict[tuple[str, str], list[float]] = {key: [] for key in speeds}
    with ExitStack() as standing:
        urls = {name: standing.enter_context(_server(model)) for name, model in models.items()}
        for turn in range(1 + rounds):
            for (name, sort), speed in speeds.items():
                told = _asked(urls[name], clients, traffic[sort])
                if turn:
                    speed.append(len(traffic[sort]) / told["seconds"])
                    waits[name, sort] += told["waits"]
            if turn:
                advance(1)
    return [
        Load(
            name,
            sort,
            statistics.median(speed),
            statistics.median(own / bare for own, bare in zip(speed, speeds[BARE, sort], strict=True)),
            1000 * float(np.percentile(waits[name, sort], 50)),
            1000 * float(np.percentile(waits[name, sort], 99)),
        )
        for (name, sort), speed in speeds.items()
    ]


def table(found: Sequence[Load], clients: int) -> RenderableType:
    """A row a server and sort of requests."""
    columns = ["", "asked", "requests/s", f"of the {BARE}'s", "p50 ms", "p99 ms"]
    shown = report.new_table(f"{clients} clients, a prompt a request", columns)
    for load in found:
        share = f"{load.of_backbone:.1%}"
        shown.add_row(
            load.server, load.sort, f"{load.per_second:.1f}", share, f"{load.p50_ms:.1f}", f"{load.p99_ms:.1f}"
        )
    return shown


def _bodies(prompts: Sequence[str], count: int) -> list[dict[str, Any]]:
    return [{"prompts": [prompts[i % len(prompts)]], "max_new_tokens": TOKENS} for i in range(count)]


def _asked(url: str, clients: int, bodies: list[dict[str, Any]]) -> dict[str, Any]:
    """What clients in another process come to."""
    script = Path(__file__).with_name("load.py")  # as a script it need not import the package
    command = [sys.executable, str(script), url, str(clients)]
    told = subprocess.run(command, input=json.dumps(bodies), capture_output=True, text=True, check=False)
    if told.returncode:
        raise MeloError(f"the clients of {url} failed: {told.stderr.strip().splitlines()[-1]}")
    found: dict[str, Any] = json.loads(told.stdout)
    return found


@contextmanager
def _server(model: EditedModel | _Bare) -> Iterator[str]:
    """The URL where a model answers, in a thread of this process."""
    config = uvicorn.Config(make_app(_Standing(model)), host="127.0.0.1", port=0, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise MeloError("a server did not start")
        time.sleep(0.01)
    try:
        (socket,) = server.servers[0].sockets
        yield f"http://127.0.0.1:{socket.getsockname()[1]}/v1/answers"
    finally:
        server.should_exit = True
        thread.join()
