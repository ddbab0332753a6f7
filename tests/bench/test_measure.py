"""Runs alternate, threads come back, and the memory of a run is seen whatever was freed before it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import pytest
import torch

from pipeline.bench.measure import (
    Ready,
    Run,
    alternate,
    highest_peak,
    median_seconds,
    run,
    this_machine,
    thread_counts,
    threads,
)

CPU = torch.device("cpu")
MB = 2**20


def test_ways_take_turns_and_what_makes_them_ready_is_not_timed() -> None:
    order: list[str] = []

    def a() -> str:
        order.append("a")
        return "result"

    @contextmanager
    def slow_to_prepare() -> Iterator[Callable[[], str]]:
        order.append("ready")
        time.sleep(0.2)
        yield a
        order.append("cleared")

    def b() -> str:
        order.append("b")
        return "other"

    ways: dict[str, Ready[str]] = {"a": slow_to_prepare, "b": lambda: nullcontext(b)}
    runs = alternate(ways, 2, CPU)
    assert order == ["ready", "a", "cleared", "b"] * 2
    assert [each.result for each in runs["a"]] == ["result"] * 2
    assert 0 < median_seconds(runs["a"]) < 0.2


def test_a_run_takes_as_long_as_it_takes() -> None:
    assert 0.05 <= run(lambda: time.sleep(0.05), CPU).seconds < 5


def test_the_median_is_not_moved_by_one_slow_run() -> None:
    assert median_seconds([Run(1.0, None, None), Run(90.0, None, None), Run(2.0, None, None)]) == 2.0


def test_peaks() -> None:
    assert highest_peak([Run(1.0, 5, None), Run(1.0, 9, None), Run(1.0, None, None)]) == 9
    assert highest_peak([Run(1.0, None, None)]) is None


def test_memory_is_seen_again_in_a_second_run_and_is_not_seen_where_there_is_none() -> None:
    def many_small_pieces() -> None:  # too small for pages of their own: freed, they stay with the allocator
        pieces = [torch.ones(16 * 1024) for _ in range(1024)]
        assert sum(piece.numel() for piece in pieces) == 16 * MB

    run(many_small_pieces, CPU)  # first use of anything
    again, idle = run(many_small_pieces, CPU).peak_bytes, run(lambda: None, CPU).peak_bytes
    if again is None or idle is None:
        pytest.skip("this system does not let a process put its high-water mark back")
    assert 50 * MB < again < 130 * MB
    assert idle < 20 * MB


def test_threads_are_set_and_put_back() -> None:
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="stop"), threads(1):
        assert torch.get_num_threads() == 1
        assert thread_counts() == (1,)
        raise RuntimeError("stop")
    assert torch.get_num_threads() == before
    assert thread_counts() == tuple(sorted({1, before}))


def test_the_machine_is_named() -> None:
    machine = this_machine(CPU)
    assert machine.processor
    assert machine.cores >= 1
    assert (machine.device, machine.torch) == ("cpu", torch.__version__)
