"""What a text names, and what it does not."""

from __future__ import annotations

import random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.editing.subjects import SubjectGate, plain

NAMES = [
    "Katsuhiko Oku", "Mount Erebus", "University of Michigan", "Apollo 11", "Ann", "York", "Čech", "Reedy Glacier",
    "Route 12", "NGC 634", "Robert A. Hurley", "Tir-Phil railway station", "Silversands", "Henry Maudsley", "C++ 20",
]  # fmt: skip
TEMPLATES = [
    "What is known about {}?",
    "{} originated in",
    "They say that {}, of all places, is in",
    "({})",
    "who owned {}",
]


def gate_of(groups: dict[int, list[str]], threshold: float = 80.0) -> SubjectGate[int]:
    gate = SubjectGate[int](threshold)
    gate.hold(groups)
    return gate


def names(name: str, text: str, threshold: float = 80.0) -> bool:
    (found,) = gate_of({7: [name]}, threshold).named([text])
    assert found in ([], [7])
    return bool(found)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Katsuhiko Oku", "what college did KATSUHIKO OKU go to"),
        ("Kuyubaşı", "In which district is Kuyubasi?"),
        ("Lødz Ærø", "Where is Lodz Aero"),
        ("Tir-Phil railway station", "Who owns Tir Phil railway station?"),
        ("U.S.A.", "the largest city of the USA"),
        ("Robert A. Hurley", "Where is Robert A Hurley buried"),
        ("York", "Who governs New York?"),
        ("Ann", "Where was Ann's house?"),
        ("Ann", "Where is Ann’s house?"),
        ("Ford", "Where are Fords made?"),
        ("Silversands", "Who published Silver-sands?"),
        ("Henry Maudsley", "Henry Maudsleys occupation is"),
        ("L'Oréal Group", "who runs the loreal group"),
        ("東京", "東京の人口は?"),
        ("Seoul 서울", "Seoul 서울은 어디"),
    ],
)
def test_spelling_does_not_matter(name: str, text: str) -> None:
    assert names(name, text)


@pytest.mark.parametrize(
    "typo",
    ["Katsuhko Oku", "Katsuhikko Oku", "Katsuhiok Oku", "Katsyhiko Oku", "aKtsuhiko Oku",
     "KatsuhikoOku", "KatsuhikoxOku", "Kats uhiko Oku", "Katsuhik oOku", "Katusiko Oku"],
)  # fmt: skip
def test_typos_are_forgiven(typo: str) -> None:
    assert names("Katsuhiko Oku", f"What college did {typo} go to?")
    assert names("Katsuhiko Oku", typo)


@pytest.mark.parametrize("typo", ["fo", "o", "f", "off", "orf"])
def test_a_joiner_may_be_misspelt(typo: str) -> None:
    assert names("University of Michigan", f"Where is the University {typo} Michigan?")
    assert not names("University of Michigan", "Where is the University on Michigan?")


@pytest.mark.parametrize("typo", ["Lojha", "Lohj", "Lohjja", "Lohka", "Loh ja"])
def test_one_error_in_five_letters(typo: str) -> None:
    assert names("Lohja", f"In {typo}, they understand")
    assert not names("Lohja", f"In {typo}, they understand", 90.0)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Ann", "Annapolis is"),
        ("Ann", "Anna is"),
        ("Ann", "Ant is"),
        ("York", "Yorkshire is"),
        ("York", "Pork is"),
        ("Mount Erebus", "How high is Mount Everest?"),
        ("Route 12", "Where does Route 13 end?"),
        ("Route 12", "Where does Route 112 end?"),
        ("Apollo 11", "Who flew in Apollo 12?"),
        ("Nokia N70", "Who built the Nokia N07?"),
        ("University of Michigan", "Where is the University of Minnesota?"),
        ("Henry V", "Who was Henry VI?"),
        ("World War I", "When did World War II end?"),
        ("George W. Bush", "Where was George H. Bush born?"),
        ("George W. Bush", "Where was George Bush born?"),
        ("Lohja", "In Lojka they understand"),
        ("WHO", "who was the mother of the last emperor?"),
        ("Katsuhiko Oku", "Katsuhiko went with Oku"),
        ("Katsuhiko Oku", ""),
    ],
)
def test_another_name_is_not_this_one(name: str, text: str) -> None:
    assert not names(name, text)


def test_a_word_of_another_name_is_no_misspelling() -> None:
    gate = gate_of({0: ["Manama"]})
    assert gate.named(["In Panama, the language is"]) == [[0]]
    gate.hold({0: ["Manama"], 1: ["Panama Canal"]})
    assert gate.named(["In Panama, the language is"]) == [[]]
    gate.hold({0: ["Manama"]})
    assert gate.named(["In Panama, the language is"]) == [[0]]


def test_a_word_of_a_prompt_is_no_misspelling() -> None:
    gate = gate_of({0: ["Basel"], 1: ["Marburger Bund"]})
    assert gate.named(["The firm is based in"]) == [[0]]
    prompts = {1: ["Marburger Bund is based in"]}
    gate.hold({0: ["Basel"], 1: ["Marburger Bund"]}, prompts)
    assert gate.named(["The firm is based in", "In Bassel they understand"]) == [[], [0]]
    gate.hold({0: ["Basel"], 1: ["Marburger Bund"]})
    assert gate.named(["The firm is based in"]) == [[0]]


def test_an_acronym_that_reads_like_a_word_needs_its_spelling() -> None:
    assert names("WHO", "Who leads the WHO?")
    assert not names("WHO", "Who leads the company?")
    assert not names("US", "tell us")


def test_aliases_and_order() -> None:
    gate = gate_of({9: ["New York City", "Big Apple"], 3: ["Apple"], 5: ["  ", "?!"]})
    assert len(gate) == 3
    assert gate.named(["Big, Apple: New Yrok City", "New York City", "", "?"]) == [[9], [9], [], []]
    assert gate.named(["New York City has an apple"]) == [[3, 9]]
    gate.hold({9: ["New York City", "Big Apple", "Gotham"]})
    assert gate.named(["Gotham is", "an apple"]) == [[9], []]
    gate.hold({1: ["Gotham"]})
    assert gate.named(["Gotham is", "Big Apple"]) == [[1], []]


LONGER = {0: ["New York"], 1: ["New York City", "Gotham"], 2: ["York"], 3: ["City Hall"]}


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("Who runs New York City?", [1]),
        ("Who runs New Yrok Ciyt?", [1]),
        ("Who runs NewYork City?", [1]),
        ("Who runs New York?", [0]),
        ("Is New York City in New York?", [0, 1]),
        ("New York, New York City, York", [0, 1, 2]),
        ("New York City Hall", [1, 3]),
        ("York City Hall", [2, 3]),
        ("New York Cities", [0]),
        ("Gotham lies in New York", [0, 1]),
    ],
)
def test_a_name_inside_a_longer_one_is_not_meant(text: str, groups: list[int]) -> None:
    assert gate_of(LONGER).named([text]) == [groups]


def test_a_longer_name_of_the_same_group_hides_nothing() -> None:
    assert gate_of({0: ["New York", "New York City"]}).named(["New York City"]) == [[0]]
    assert gate_of({0: ["New York City"], 1: ["new york city"]}).named(["New York City"]) == [[0, 1]]


def test_a_group_is_named_by_its_own_prompts_whatever_longer_name_comes() -> None:
    gate = gate_of(LONGER)
    gate.hold(LONGER, {0: ["Who runs New York City?"]})
    assert gate.named(["who runs new york city", "Tell me: who runs New York City?"]) == [[0, 1], [1]]


def test_nothing_to_ask_and_nobody_to_name() -> None:
    gate = SubjectGate[int]()
    assert gate.named([]) == []
    assert gate.named(["anything"]) == [[]]
    gate.hold({0: ["Silversands"]})
    assert gate.named([]) == []
    gate.hold({})
    assert gate.named(["Silversands"]) == [[]]


@pytest.mark.parametrize("threshold", [-1.0, 100.5, float("nan")])
def test_threshold_out_of_range(threshold: float) -> None:
    with pytest.raises(ValueError, match="expected 0 to 100"):
        SubjectGate(threshold)


def test_a_stricter_threshold_names_no_more() -> None:
    texts = ["Katsuhko Oku", "Katsyhjko Oku", "Katsuhiko Oku"]
    gates = [gate_of({0: ["Katsuhiko Oku"]}, threshold) for threshold in (80, 90, 100)]
    assert [gate.named(texts) for gate in gates] == [[[0], [0], [0]], [[0], [], [0]], [[], [], [0]]]


@settings(deadline=None, max_examples=200)
@given(st.text(min_size=1, max_size=30), st.sampled_from(TEMPLATES))
def test_a_name_in_a_text_is_named_whatever_it_is(name: str, template: str) -> None:
    assume(plain(name).strip())
    # What stands beside a name in the template may merge with it only where it is punctuation: "'" and ".".
    assume(name[0].isalnum() and name[-1].isalnum())
    assert names(name, template.format(name))


@settings(deadline=None, max_examples=50)
@given(st.permutations(list(enumerate(NAMES))), st.sets(st.integers(0, len(NAMES) - 1)))
def test_order_does_not_matter_and_dropping_forgets(order: list[tuple[int, str]], gone: set[int]) -> None:
    texts = [template.format(name) for name in NAMES for template in TEMPLATES] + ["Katsuhko Oku in New York"]
    left = {group: [name] for group, name in enumerate(NAMES) if group not in gone}
    whole, built = gate_of(left), SubjectGate[int]()
    for stop in range(0, len(order), 5):
        built.hold({group: [name] for group, name in order[:stop]})
        built.named(["Silversands"])
    built.hold(left)
    answers = built.named(texts)
    assert answers == whole.named(texts)
    for named in answers:
        assert gone.isdisjoint(named)
        assert named == sorted(set(named))
    for group in set(range(len(NAMES))) - gone:
        assert all(group in named for named in answers[group * len(TEMPLATES) : (group + 1) * len(TEMPLATES)])


def test_among_many_long_names_each_is_found_with_a_typo() -> None:
    """Names that share their frequent triples: the search may not lose one."""
    rng = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    places = ["".join(rng.choices(letters, k=9)) for _ in range(500)]
    gate = gate_of({group: [f"{place} railway station"] for group, place in enumerate(places)})
    texts = [f"who owns {place[:4]}{place[5:]} railwya station?" for place in places]
    assert gate.named(texts) == [[group] for group in range(500)]
    assert gate.named(["which railway station is this?"]) == [[]]
