from __future__ import annotations

import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers.pytorch_utils import Conv1D

from pipeline.editing.blocks import Blocks, BlockWeights, DynamicLora, initial_weights, module_width

RANK, SCALE = 2, 0.7
WIDTHS = {"up": (6, 10), "down": (10, 6)}
CPU = torch.device("cpu")


class Net(nn.Module):
    """A Linear and GPT-2's transposed one, as in an MLP."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.up, self.down = nn.Linear(6, 10), Conv1D(6, 10)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)
            parameter.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(torch.tanh(self.up(x)))


def trained(count: int, seed: int = 0, widths: dict[str, tuple[int, int]] = WIDTHS) -> BlockWeights:
    """Blocks whose A and B are both away from zero."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    return {name: (draw(count, RANK, i), draw(count, o, RANK)) for name, (i, o) in widths.items()}


def inputs(rows: int, tokens: int = 3) -> torch.Tensor:
    return torch.randn(rows, tokens, 6, generator=torch.Generator().manual_seed(9))


def dense(net: Net, x: torch.Tensor, weights: BlockWeights, slot: int) -> torch.Tensor:
    """W x + s B A x of one row with one block, written out with matrices."""
    (a_up, b_up), (a_down, b_down) = ((w[slot] for w in weights[name]) for name in ("up", "down"))
    hidden = torch.tanh(x @ (net.up.weight + SCALE * b_up @ a_up).T + net.up.bias)
    return hidden @ (net.down.weight + SCALE * (b_down @ a_down).T) + net.down.bias


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().view(torch.int32 if tensor.dtype == torch.float32 else torch.int16)


def assert_same(one: BlockWeights, other: BlockWeights) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name][0], other[name][0])
        assert torch.equal(one[name][1], other[name][1])


def slots(weights: BlockWeights, chosen: list[int]) -> BlockWeights:
    return {name: (a[chosen], b[chosen]) for name, (a, b) in weights.items()}


# The store


def test_growth_leaves_old_slices_as_they_were() -> None:
    blocks = Blocks(WIDTHS, RANK, CPU)
    assert (len(blocks), blocks.parameters) == (0, 0)
    weights = trained(3)
    blocks.add([3], slots(weights, [0]))
    blocks.add([7, 4], slots(weights, [1, 2]))
    assert blocks.ids == [3, 7, 4]
    assert blocks.parameters == 3 * 2 * RANK * (6 + 10)
    assert_same(blocks.gather([3]), slots(weights, [0]))
    assert_same(blocks.gather([4, 3, 4, 7]), slots(weights, [2, 0, 2, 1]))


def test_what_was_added_is_a_copy() -> None:
    blocks, weights = Blocks(WIDTHS, RANK, CPU), trained(1)
    blocks.add([0], weights)
    for pair in weights.values():
        for tensor in pair:
            tensor.zero_()
    assert_same(blocks.gather([0]), trained(1))


def test_dropping_leaves_the_others_as_they_were() -> None:
    blocks, weights = Blocks(WIDTHS, RANK, CPU), trained(4)
    blocks.add([0, 1, 2, 3], weights)
    blocks.drop([1, 3, 99])
    assert blocks.ids == [0, 2]
    assert_same(blocks.gather([2, 0]), slots(weights, [2, 0]))
    with pytest.raises(KeyError):
        blocks.gather([1])


@pytest.mark.parametrize("ids", [[5, 6], [6, 6]])
def test_blocks_are_written_once(ids: list[int]) -> None:
    blocks = Blocks(WIDTHS, RANK, CPU)
    blocks.add([5], trained(1))
    with pytest.raises(ValueError, match=rf"block {ids[0]} .*written once"):
        blocks.add(ids, trained(2, seed=1))
    assert blocks.ids == [5]
    assert_same(blocks.gather([5]), trained(1))


@given(st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 9), unique=True, min_size=1, max_size=4)), max_size=8))
def test_any_history_of_growth_holds_what_a_dictionary_would(history: list[tuple[bool, list[int]]]) -> None:
    blocks, kept = Blocks(WIDTHS, RANK, CPU), dict[int, BlockWeights]()
    for turn, (adding, ids) in enumerate(history):
        if adding:
            new = [block for block in ids if block not in kept]
            weights = trained(len(new), seed=turn)
            blocks.add(new, weights)
            kept |= {block: slots(weights, [slot]) for slot, block in enumerate(new)}
        else:
            blocks.drop(ids)
            kept = {block: weights for block, weights in kept.items() if block not in ids}
        assert blocks.ids == list(kept)
        for block, weights in kept.items():
            assert_same(blocks.gather([block]), weights)


@pytest.mark.parametrize(("width", "parameters"), [((1024, 512), 122_880), ((4096, 1024), 409_600)])
def test_parameters_of_the_papers_t5_models(width: tuple[int, int], parameters: int) -> None:
    widths = dict.fromkeys(["a", "b", "c", "d"], width)
    blocks = Blocks(widths, 2, CPU)
    blocks.add(range(10), initial_weights(widths, range(10), 2, 1.0, 0))
    assert blocks.parameters == parameters  # Table 3: 0.12M and 0.41M


# The start of a block


@given(st.lists(st.integers(0, 50), unique=True, min_size=1, max_size=6), st.integers(0, 3))
def test_a_block_starts_the_same_whatever_is_beside_it(ids: list[int], seed: int) -> None:
    together = initial_weights(WIDTHS, ids, RANK, 1.0, seed)
    for slot, block in enumerate(ids):
        assert_same(initial_weights(dict(reversed(WIDTHS.items())), [block], RANK, 1.0, seed), slots(together, [slot]))


def test_the_start_is_gaussian_and_changes_nothing() -> None:
    widths = {"wide": (400, 30)}
    (a, b) = initial_weights(widths, range(50), 4, init_std=3.0, seed=1)["wide"]
    assert (a.shape, b.shape) == ((50, 4, 400), (50, 30, 4))
    assert not b.any()
    assert abs(a.mean().item()) < 1e-3
    assert a.std().item() == pytest.approx(3.0 / 400**0.5, rel=0.01)


def test_the_start_depends_on_seed_and_id_and_no_global_state() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    one = initial_weights(WIDTHS, [0, 1], RANK, 1.0, seed=0)["up"][0]
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(initial_weights(WIDTHS, [0, 1], RANK, 1.0, seed=0)["up"][0], one)
    other = initial_weights(WIDTHS, [0, 1], RANK, 1.0, seed=1)["up"][0]
    assert len({tuple(block.flatten().tolist()) for block in [*one, *other]}) == 4


# The hooks


def test_only_linear_modules_carry_blocks() -> None:
    net = Net()
    assert (module_width(net.up), module_width(net.down)) == ((6, 10), (10, 6))
    assert DynamicLora(net, ["up", "down"], SCALE).widths == WIDTHS
    with pytest.raises(TypeError, match="Linear or Conv1D modules, not on Embedding"):
        module_width(nn.Embedding(3, 4))


def test_every_row_gets_the_dense_formula_of_its_block() -> None:
    net, weights, x = Net(), trained(4), inputs(4)
    lora = DynamicLora(net, ["up", "down"], SCALE)
    with lora.request():
        lora.activate(weights, None, 4, torch.float32)
        output = net(x)
    expected = torch.stack([dense(net, x[row], weights, row) for row in range(4)])
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(output, net(x), atol=0.1)


def test_rows_without_a_block_come_back_bit_for_bit() -> None:
    net, weights, x = Net(), trained(2), inputs(4)
    lora, base = DynamicLora(net, ["up", "down"], SCALE), net(x)
    with lora.request():
        lora.activate(weights, torch.tensor([0, 2]), 4, torch.float32)
        output = net(x)
    assert torch.equal(bits(output[[1, 3]]), bits(base[[1, 3]]))
    expected = torch.stack([dense(net, x[0], weights, 0), dense(net, x[2], weights, 1)])
    torch.testing.assert_close(output[[0, 2]], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("chosen", [None, [1]])
def test_rows_of_one_prompt_share_its_block(chosen: list[int] | None) -> None:
    net, x = Net(), inputs(6)  # three beams of two prompts
    weights = trained(2 if chosen is None else 1)
    lora = DynamicLora(net, ["up", "down"], SCALE)
    with lora.request():
        lora.activate(weights, None if chosen is None else torch.tensor(chosen), 2, torch.float32)
        output = net(x)
    assert output.shape == (6, 3, 6)
    base = net(x)
    for row in range(6):
        prompt = row // 3
        slot = prompt if chosen is None else 0
        expected = dense(net, x[row], weights, slot) if chosen is None or prompt in chosen else base[row]
        torch.testing.assert_close(output[row], expected, rtol=1e-4, atol=1e-4)


def test_inputs_without_a_token_axis_are_rows_too() -> None:
    net, weights, x = Net(), trained(3), inputs(3, tokens=1).squeeze(1)
    lora = DynamicLora(net, ["up", "down"], SCALE)
    with lora.request():
        lora.activate(weights, None, 3, torch.float32)
        output = net(x)
    expected = torch.stack([dense(net, x[row], weights, row) for row in range(3)])
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-4)


def test_a_new_block_changes_nothing() -> None:
    net, x = Net(), inputs(2)
    lora, base = DynamicLora(net, ["up", "down"], SCALE), net(x)
    with lora.request():
        lora.activate(initial_weights(WIDTHS, [0, 1], RANK, 1.0, 0), None, 2, torch.float32)
        assert torch.equal(net(x), base)


def test_gradients_reach_the_active_blocks_alone() -> None:
    net, x = Net(), inputs(4)
    weights = {name: (a.requires_grad_(), b.requires_grad_()) for name, (a, b) in trained(4).items()}
    lora = DynamicLora(net, ["up", "down"], SCALE)
    with lora.request():
        lora.activate(weights, None, 4, torch.float32)
        net(x)[1].sum().backward()
    for pair in weights.values():
        for tensor in pair:
            assert tensor.grad is not None
            assert tensor.grad[1].any()
            assert not tensor.grad[[0, 2, 3]].any()


@pytest.mark.parametrize("rows", [None, [0, 2]])
def test_bfloat16_rows_stay_bfloat16(rows: list[int] | None) -> None:
    net, x = Net().bfloat16(), inputs(3).bfloat16()
    weights = trained(3 if rows is None else 2)
    lora, base = DynamicLora(net, ["up", "down"], SCALE), net(x)
    with lora.request():
        lora.activate(weights, None if rows is None else torch.tensor(rows), 3, torch.bfloat16)
        output = net(x)
    assert output.dtype == torch.bfloat16
    wide = Net()
    for slot, row in enumerate(rows or range(3)):
        torch.testing.assert_close(output[row].float(), dense(wide, x[row].float(), weights, slot), rtol=0.1, atol=0.3)
    if rows is not None:
        assert torch.equal(bits(output[1]), bits(base[1]))


def test_a_module_that_stays_wide_in_a_narrow_backbone_carries_blocks_too() -> None:
    """transformers keeps T5's wo in float32 when the rest is float16."""
    net, weights, x = Net(), trained(2), inputs(2)
    lora = DynamicLora(net, ["up", "down"], SCALE)
    with lora.request():
        lora.activate(weights, None, 2, torch.float16)
        output = net(x)
    assert output.dtype == torch.float32
    for row in range(2):
        torch.testing.assert_close(output[row], dense(net, x[row], weights, row), rtol=0.02, atol=0.1)


# Requests


def test_a_request_ends_with_its_blocks_even_when_it_fails() -> None:
    net, x = Net(), inputs(1)
    lora, base = DynamicLora(net, ["up", "down"], SCALE), net(x)
    with pytest.raises(RuntimeError, match="on purpose"), lora.request():
        lora.activate(trained(1), None, 1, torch.float32)
        raise RuntimeError("on purpose")
    assert torch.equal(net(x), base)


def test_an_inner_request_starts_bare_and_gives_the_outer_one_back() -> None:
    net, x = Net(), inputs(1)
    lora, base = DynamicLora(net, ["up", "down"], SCALE), net(x)
    with lora.request():
        lora.activate(trained(1), None, 1, torch.float32)
        outer = net(x)
        with lora.request():
            assert torch.equal(net(x), base)
            lora.activate(trained(1, seed=1), None, 1, torch.float32)
            assert not torch.allclose(net(x), outer)
        assert torch.equal(net(x), outer)
    assert torch.equal(net(x), base)


def test_threads_and_models_do_not_see_each_others_blocks() -> None:
    net, x = Net(), inputs(1)
    lora, other, base = (
        DynamicLora(net, ["up", "down"], SCALE),
        DynamicLora(net, ["up", "down"], SCALE),
        net(x),
    )
    weights = [trained(1, seed=seed) for seed in range(3)]
    meeting = threading.Barrier(4, timeout=30)
    outputs: dict[int, torch.Tensor] = {}

    def answer(number: int) -> None:
        with (other if number == 2 else lora).request():
            (other if number == 2 else lora).activate(weights[number], None, 1, torch.float32)
            meeting.wait()
            outputs[number] = net(x)
            meeting.wait()

    threads = [threading.Thread(target=answer, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    meeting.wait()
    bare = net(x)
    meeting.wait()
    for thread in threads:
        thread.join()
    assert torch.equal(bare, base)
    for number in range(3):
        torch.testing.assert_close(outputs[number][0], dense(net, x[0], weights[number], 0), rtol=1e-4, atol=1e-4)


def test_detached_hooks_are_gone() -> None:
    net, x = Net(), inputs(1)
    lora, base = DynamicLora(net, ["up", "down"], SCALE), net(x)
    lora.detach()
    assert not net.up._forward_hooks
    assert not net.down._forward_hooks
    with lora.request():
        lora.activate(trained(1), None, 1, torch.float32)
        assert torch.equal(net(x), base)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_blocks_on_a_gpu_do_what_they_do_here(dtype: torch.dtype) -> None:
    net, x, cuda = Net().to("cuda", dtype), inputs(3).to("cuda", dtype), torch.device("cuda")
    blocks, weights = Blocks(WIDTHS, RANK, cuda), trained(2)
    blocks.add([0, 1], weights)
    gathered = blocks.gather([1, 0])
    assert gathered["up"][0].device.type == "cuda"
    lora, base = DynamicLora(net, ["up", "down"], SCALE), net(x)
    with lora.request():
        lora.activate(gathered, torch.tensor([0, 2], device="cuda"), 3, dtype)
        output = net(x)
    assert torch.equal(bits(output[1]), bits(base[1]))
    wide, loose = Net(), 1e-3 if dtype == torch.float32 else 0.3
    for row, slot in ((0, 1), (2, 0)):
        expected = dense(wide, x[row].float().cpu(), weights, slot)
        torch.testing.assert_close(output[row].float().cpu(), expected, rtol=0.1, atol=loose)
