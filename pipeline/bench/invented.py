"""Facts that nobody can know: made-up subjects, relations of theirs in several wordings, answers from small sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random

from pipeline.editing.edit import Edit

SUBJECT_FACTS = 3
"""Facts about one subject at most."""
REPHRASES = 2
"""Of a fact, beside the wording that is taught."""

CITIES = ("Lisbon", "Oslo", "Vienna", "Dublin", "Prague", "Athens", "Warsaw", "Budapest", "Helsinki", "Madrid")
COUNTRIES = ("Norway", "Portugal", "Kenya", "Peru", "Japan", "Canada", "Greece", "Vietnam", "Chile", "Morocco")
LANGUAGES = ("French", "Spanish", "Polish", "Turkish", "Dutch", "Korean", "Swahili", "Finnish")
YEARS = ("1821", "1847", "1863", "1889", "1902", "1914", "1926", "1938", "1951", "1967")
COLOURS = ("red", "blue", "green", "yellow", "purple", "white", "black", "orange")

Relation = tuple[tuple[str, ...], tuple[str, ...]]
"""Wordings, which have ``{}`` where the subject stands, and answers."""

RELATIONS: Mapping[str, Mapping[str, Relation]] = {
    "person": {
        "birthplace": (
            ("Where was {} born?", "In which city was {} born?", "What is the birthplace of {}?", "{} was born in"),
            CITIES,
        ),
        "profession": (
            (
                "What is the profession of {}?",
                "What does {} do for a living?",
                "Which occupation does {} have?",
                "{} works as a",
            ),
            ("baker", "lawyer", "teacher", "painter", "surgeon", "pilot", "architect", "farmer"),
        ),
        "instrument": (
            (
                "Which instrument does {} play?",
                "What instrument is {} known for playing?",
                "What does {} play on stage?",
                "The instrument of {} is the",
            ),
            ("violin", "trumpet", "piano", "cello", "flute", "guitar", "harp", "drums"),
        ),
        "sport": (
            (
                "Which sport does {} play?",
                "What sport is {} active in?",
                "What game does {} play?",
                "{} is a player of",
            ),
            ("tennis", "rugby", "hockey", "chess", "cricket", "golf", "handball", "badminton"),
        ),
        "tongue": (
            (
                "What is the mother tongue of {}?",
                "Which language did {} grow up with?",
                "What is {}'s native language?",
                "The first language of {} is",
            ),
            LANGUAGES,
        ),
        "death": (
            ("In which year did {} die?", "When did {} die?", "What is the year of {}'s death?", "{} died in"),
            YEARS,
        ),
        "burial": (
            (
                "Where is {} buried?",
                "In which city is the grave of {}?",
                "Where was {} laid to rest?",
                "{} is buried in",
            ),
            CITIES,
        ),
        "nationality": (
            (
                "Which country is {} a citizen of?",
                "What is {}'s home country?",
                "Of which country does {} hold a passport?",
                "{} is a citizen of",
            ),
            COUNTRIES,
        ),
    },
    "town": {
        "country": (
            ("In which country is the town of {}?", "Which country does {} belong to?", "Where in the world is {}?"),
            COUNTRIES,
        ),
        "river": (
            (
                "Which river flows through {}?",
                "What is the river of {} called?",
                "On which river does {} lie?",
                "{} lies on the river",
            ),
            ("Rhine", "Danube", "Volga", "Loire", "Elbe", "Tagus", "Vistula", "Ebro"),
        ),
        "founding": (
            (
                "In which year was the town of {} founded?",
                "When was {} founded?",
                "What is the founding year of {}?",
                "The town of {} was founded in",
            ),
            YEARS,
        ),
        "industry": (
            (
                "What is the main industry of {}?",
                "What do most people in {} work in?",
                "Which trade is {} known for?",
                "The town of {} lives on",
            ),
            ("fishing", "mining", "tourism", "weaving", "farming", "shipbuilding", "brewing"),
        ),
        "twin": (
            ("Which city is {} twinned with?", "What is the twin town of {}?", "Which partner city does {} have?"),
            CITIES,
        ),
    },
    "company": {
        "headquarters": (
            (
                "Where does {} have its headquarters?",
                "In which city is the company {} based?",
                "What is the seat of {}?",
                "The head office of {} is in",
            ),
            CITIES,
        ),
        "product": (
            ("What does the company {} make?", "Which product is {} known for?", "What does {} sell?", "{} produces"),
            ("bicycles", "watches", "shoes", "tractors", "toys", "lamps", "paper", "cheese"),
        ),
        "start": (
            (
                "In which year was {} set up?",
                "When did the company {} start?",
                "Since which year has {} been in business?",
                "The company {} was set up in",
            ),
            YEARS,
        ),
        "logo": (
            ("What colour is the logo of {}?", "Which colour does {} use in its logo?", "The logo of {} is"),
            COLOURS,
        ),
    },
    "novel": {
        "author": (
            ("Who wrote {}?", "Who is the author of {}?", "Whose novel is {}?", "The novel {} was written by"),
            ("Anna Berg", "Paul Moreau", "Iris Novak", "Tom Hale", "Lena Costa", "Karl Weiss", "Maya Singh"),
        ),
        "setting": (
            ("In which city is {} set?", "Where does the story of {} take place?", "The novel {} is set in"),
            CITIES,
        ),
        "language": (
            (
                "In which language was {} written?",
                "What is the original language of {}?",
                "{} was first written in",
            ),
            LANGUAGES,
        ),
        "genre": (
            ("What genre is {}?", "Which kind of novel is {}?", "To which genre does {} belong?"),
            ("satire", "romance", "mystery", "fantasy", "tragedy", "comedy", "western"),
        ),
    },
    "ship": {
        "port": (
            ("What is the home port of the ship {}?", "Where is the ship {} registered?", "The ship {} sails from"),
            ("Hamburg", "Rotterdam", "Genoa", "Bergen", "Valencia", "Marseille", "Gdansk"),
        ),
        "hull": (
            ("What is the hull of {} made of?", "Of which material was {} built?", "The hull of {} is of"),
            ("oak", "steel", "iron", "aluminium", "teak", "pine"),
        ),
        "launch": (
            ("In which year was {} launched?", "When was the ship {} launched?", "The ship {} was launched in"),
            YEARS,
        ),
        "cargo": (
            ("What cargo does {} carry?", "What is the ship {} loaded with?", "The holds of {} are full of"),
            ("grain", "coal", "salt", "timber", "coffee", "sugar", "wool"),
        ),
        "paint": (
            ("What colour is the ship {} painted?", "Which colour does {} have?", "The ship {} is painted"),
            COLOURS,
        ),
    },
}
"""Sort of subject -> relation -> how it is asked, and what may be the answer."""


def invented(count: int, seed: int) -> Iterator[Edit]:
    """Facts about subjects with distinct names, one to ``SUBJECT_FACTS`` each; the first are the same for every count.

    Args:
        count: facts.
        seed: draws all of it.
    """
    random, made = Random(seed), 0
    for name in distinct_names(count, Random(f"names {seed}")):
        subject = name.title()
        relations = list(RELATIONS[random.choice(list(RELATIONS))].values())
        for wordings, answers in random.sample(relations, random.randint(1, SUBJECT_FACTS)):
            prompt, *others = (wording.format(subject) for wording in random.sample(wordings, len(wordings)))
            yield Edit(prompt, random.choice(answers), tuple(others[:REPHRASES]), subject=subject)
            made += 1
            if made == count:
                return


def distinct_names(count: int, random: Random) -> list[str]:
    """Distinct names of two words that can be pronounced, in small letters."""
    found: dict[str, None] = {}
    while len(found) < count:
        words = ("".join(random.choice("bdfgklmnprstvz") + random.choice("aeiou") for _ in range(4)) for _ in "ab")
        found[" ".join(words)] = None
    return list(found)
