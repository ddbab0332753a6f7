"""Times, memory and machine: what the measurements have in common.

Runs that are compared alternate in one process (A B A B ...), so that whatever else the machine does falls on all of
them, and medians are taken.
"""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
import transformers

T = TypeVar("T")
Ready = Callable[[], AbstractContextManager[Callable[[], T]]]

STATUS, CLEAR, PEAK_ONLY = Path("/proc/self/status"), Path("/proc/self/clear_refs"), "5"
"""Linux: writing "5" to clear_refs puts the high-water mark of resident memory (VmHWM) back to what is resident."""


@dataclass(frozen=True, slots=True)
class Run(Generic[T]):
    """One run of something.

    Attributes:
        seconds: wall clock, until the device is done.
        peak_bytes: memory at its highest, above what was held before: on CUDA what torch allocated, elsewhere
            what was resident. None where the system doesn't tell.
        result: what it returned.
    """

    seconds: float
    peak_bytes: int | None
    result: T


def run(action: Callable[[], T], device: torch.device) -> Run[T]:
    """Runs an action once, watching time and memory."""
    gc.collect()
    with _peak_memory(device) as peak:
        start = time.perf_counter()
        result = action()
        synchronise(device)
        seconds = time.perf_counter() - start
    return Run(seconds, peak[0], result)


def alternate(ways: Mapping[str, Ready[T]], rounds: int, device: torch.device) -> dict[str, list[Run[T]]]:
    """Runs all ways in turn, ``rounds`` times.

    Args:
        ways: by name; each makes ready, unmeasured, what then is run and measured, and clears it away.
        rounds: runs of each.
        device: where they compute.
    """
    runs: dict[str, list[Run[T]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, ready in ways.items():
            with ready() as action:
                runs[name].append(run(action, device))
    return runs


def median_seconds(runs: list[Run[T]]) -> float:
    return statistics.median(each.seconds for each in runs)


def highest_peak(runs: list[Run[T]]) -> int | None:
    """The largest peak of several runs: a later one may find memory that the first had to ask for."""
    return max((each.peak_bytes for each in runs if each.peak_bytes is not None), default=None)


def synchronise(device: torch.device) -> None:
    """Waits until a GPU has done what it was asked to; nothing to wait for elsewhere."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Within it torch computes on this many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def thread_counts() -> tuple[int, ...]:
    """One, and as many as torch takes by itself where that is more."""
    return tuple(sorted({1, torch.get_num_threads()}))


@dataclass(frozen=True, slots=True)
class Machine:
    """Where and with what it was measured.

    Attributes:
        processor, cores, load: the CPU, the cores this process may use, and how many were busy (1 minute).
        device: what the backbone ran on.
        threads: what torch takes when it isn't told.
        python, torch, transformers: versions.
    """

    processor: str
    cores: int
    load: float
    device: str
    threads: int
    python: str
    torch: str
    transformers: str


def this_machine(device: torch.device) -> Machine:
    """Asked before the measurement, so that the load is that of others."""
    return Machine(
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        load=os.getloadavg()[0],
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        threads=torch.get_num_threads(),
        python=platform.python_version(),
        torch=torch.__version__,
        transformers=transformers.__version__,
    )


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


@contextmanager
def _peak_memory(device: torch.device) -> Iterator[list[int | None]]:
    """Yields a list whose one entry is the peak, in bytes, once the block has ended."""
    peak: list[int | None] = [None]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield peak
        peak[0] = torch.cuda.max_memory_allocated(device) - before
        return
    resident = _reset_high_water()
    yield peak
    if resident is not None:
        peak[0] = max(0, _status("VmHWM") - resident)


def _reset_high_water() -> int | None:
    """Resident bytes now, which the high-water mark starts from; None where it cannot be put back."""
    try:
        # What earlier runs freed is still resident, and a run that used it again would seem to need nothing.
        ctypes.CDLL(None).malloc_trim(0)
        CLEAR.write_text(PEAK_ONLY)
        return _status("VmRSS")
    except (OSError, AttributeError):  # not Linux, no glibc, or a sandbox without this file
        return None


def _status(field: str) -> int:
    """A field of /proc/self/status that is given in kB, in bytes."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024
