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


def names(name: str, text: str, threshold: float = 80.0) -> bool:
    gate = SubjectGate(threshold)
    gate.add(7, [name])
    (found,) = gate.named([text])
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
     "KatsuhikoOku", "Kats uhiko Oku", "Katsuhik oOku", "Katusiko Oku"],
)  # fmt: skip
def test_typos_are_forgiven(typo: str) -> None:
    assert names("Katsuhiko Oku", f"What college did {typo} go to?")
    assert names("Katsuhiko Oku", typo)


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
    gate = SubjectGate()
    gate.set({0: ["Manama"]})
    assert gate.named(["In Panama, the language is"]) == [[0]]
    gate.add(1, ["Panama Canal"])
    assert gate.named(["In Panama, the language is"]) == [[]]
    gate.drop([1])
    assert gate.named(["In Panama, the language is"]) == [[0]]


def test_an_acronym_that_reads_like_a_word_needs_its_spelling() -> None:
    assert names("WHO", "Who leads the WHO?")
    assert not names("WHO", "Who leads the company?")
    assert not names("US", "tell us")


def test_aliases_and_order() -> None:
    gate = SubjectGate()
    gate.set({9: ["New York City", "Big Apple"], 3: ["York"], 5: ["  ", "?!"]})
    assert len(gate) == 2
    assert gate.named(["the Big Apple", "New York City", "", "?"]) == [[9], [3, 9], [], []]
    gate.add(9, ["Gotham"])
    assert gate.named(["Gotham is"]) == [[9]]
    gate.set({1: ["Gotham"]})
    assert gate.named(["Gotham is", "York"]) == [[1], []]


def test_nothing_to_ask_and_nobody_to_name() -> None:
    gate = SubjectGate()
    assert gate.named([]) == []
    assert gate.named(["anything"]) == [[]]
    gate.add(0, ["Silversands"])
    gate.drop([0, 12])
    assert gate.named(["Silversands"]) == [[]]


@pytest.mark.parametrize("threshold", [-1.0, 100.5, float("nan")])
def test_threshold_out_of_range(threshold: float) -> None:
    with pytest.raises(ValueError, match="expected 0 to 100"):
        SubjectGate(threshold)


def test_a_stricter_threshold_names_no_more() -> None:
    texts = ["Katsuhko Oku", "Katsyhjko Oku", "Katsuhiko Oku"]
    gates = [SubjectGate(threshold) for threshold in (80, 90, 100)]
    for gate in gates:
        gate.add(0, ["Katsuhiko Oku"])
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
    whole, built = SubjectGate(), SubjectGate()
    whole.set({group: [name] for group, name in enumerate(NAMES) if group not in gone})
    for at, (group, name) in enumerate(order):
        built.add(group, [name])
        if at % 5 == 0:
            built.named(["Silversands"])
    built.drop(gone)
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
    gate = SubjectGate()
    gate.set({group: [f"{place} railway station"] for group, place in enumerate(places)})
    texts = [f"who owns {place[:4]}{place[5:]} railwya station?" for place in places]
    assert gate.named(texts) == [[group] for group in range(500)]
    assert gate.named(["which railway station is this?"]) == [[]]
