"""`builtin:reviews`: product reviews made up by rule, deterministic from a seed.

The label is the sign of the opinions in a review, so it can be read off the text, though not word by word: a
negation turns an opinion round, in a contrast the last clause decides, a closing sentence counts twice, and
opinions about other things do not count. Label noise then turns some labels round. Leaves splitting to data.py.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

import pyarrow as pa

from harness.builtin import vocabulary as words

LABEL_NAMES = ("negative", "positive")
ROWS = 4000
NOISE = 0.05
SEED = 20
SHORTEST, LONGEST = 5, 120


class Sentence(NamedTuple):
    """A sentence without capital and full stop, and what it adds to the review's opinion."""

    text: str
    weight: int


class Writer:
    """Writes sentences about one product with one random stream; `Random.random` alone, which no version changes."""

    def __init__(self, random: Random, kind: str) -> None:
        self.random = random
        self.kind = kind
        self.words = words.KINDS[kind]

    def pick(self, options: tuple[str, ...]) -> str:
        """One of the options, all equally likely."""
        return options[int(self.random.random() * len(options))]

    def pick_two(self, options: tuple[str, ...]) -> tuple[str, str]:
        """Two different options."""
        first = int(self.random.random() * len(options))
        second = int(self.random.random() * (len(options) - 1))
        return options[first], options[second + (second >= first)]

    def chance(self, share: float) -> bool:
        """True in this share of the calls."""
        return self.random.random() < share

    def fill(self, template: str) -> str:
        """Put a fresh word into every {slot} of a template."""
        slots = {
            "colour": words.COLOURS,
            "day": words.WEEKDAYS,
            "person": words.PEOPLE,
            "time": words.TIMES,
            "place": words.PLACES,
            "part": self.words.parts,
            "name": self.words.names,
        }
        pieces = template.split("{")
        text = pieces[0]
        for piece in pieces[1:]:
            slot, rest = piece.split("}")
            if slot == "kind":
                text += self.kind
            elif slot == "any":
                text += self.pick(words.GOOD if self.chance(0.5) else words.BAD)
            else:
                text += self.pick(slots[slot])
            text += rest
        return text

    def part_is(self) -> str:
        """The beginning of a sentence about a part, in the right number."""
        part = self.pick(self.words.parts)
        return f"the {part} {'are' if part.endswith('s') and not part.endswith('ss') else 'is'}"

    def quality(self, good: bool) -> str:
        """One adjective or two of a kind, of this polarity; negated in one case of seven."""
        if self.chance(0.15):
            wrong = words.BAD if good else words.GOOD
            if self.chance(0.3):
                return "neither {} nor {}".format(*self.pick_two(wrong))
            return f"{self.pick(words.NEGATIONS)} {self.pick(wrong)}"
        right = words.GOOD if good else words.BAD
        if self.chance(0.4):
            return "{} and {}".format(*self.pick_two(right))
        own = words.GOOD_ADVERBS if good else words.BAD_ADVERBS
        return self.pick(own if self.chance(0.4) else words.ADVERBS) + self.pick(right)

    def feeling(self, good: bool) -> str:
        """A sentence in the first person about a part."""
        if self.chance(0.15):
            verb = f"{self.pick(('do not', 'never', 'cannot'))} {self.pick(words.DISLIKE if good else words.LIKE)}"
        else:
            verb = self.pick(words.LIKE if good else words.DISLIKE)
        return f"i {verb} the {self.pick(self.words.parts)}"

    def clause(self, good: bool) -> str:
        """One plain opinion."""
        kind = self.random.random()
        if kind < 0.5:
            return f"{self.part_is()} {self.quality(good)}"
        if kind < 0.65:
            return self.feeling(good)
        if kind < 0.85:
            return self.pick(self.words.good if good else self.words.bad)
        return f"it is {self.quality(good)} as a {self.pick(self.words.names)}"

    def contrast(self, good: bool) -> str:
        """Two clauses of opposite polarity; the last one decides."""
        kind = self.random.random()
        if kind < 0.4:
            return f"{self.clause(not good)} , {self.pick(words.BUTS)} {self.clause(good)}"
        if kind < 0.6:
            return f"{self.pick(words.ALTHOUGHS)} {self.clause(not good)} , {self.clause(good)}"
        if kind < 0.8:
            end = self.pick(words.SAVED if good else words.RUINED)
            return f"{self.part_is()} {self.quality(not good)} but the {self.pick(self.words.parts)} {end}"
        opinion = self.pick(words.BAD if good else words.GOOD)
        return f"{self.pick(words.PEOPLE)} called it {opinion} , and {self.clause(good)}"

    def opinion(self, good: bool) -> Sentence:
        """An opinion that counts once: a clause, a contrast or two clauses that agree."""
        kind = self.random.random()
        if kind < 0.2:
            body = self.contrast(good)
        elif kind < 0.5:
            body = f"{self.clause(good)} and {self.clause(good)}"
        else:
            body = self.clause(good)
        return Sentence(self.fill(self.pick(words.OPENERS)) + body + self.pick(words.CLOSERS), 1 if good else -1)

    def ending(self, good: bool) -> Sentence:
        """A closing sentence, which counts twice."""
        return Sentence(self.pick(words.GOOD_ENDINGS if good else words.BAD_ENDINGS), 2 if good else -2)

    def filler(self) -> Sentence:
        """A sentence that says nothing about this product."""
        return Sentence(self.fill(self.pick(words.DISTRACTORS if self.chance(0.25) else words.FILLERS)), 0)

    def review(self, good: bool) -> str:
        """A review whose opinions add up to this polarity, SHORTEST to LONGEST words."""
        while True:
            target = SHORTEST * (LONGEST / SHORTEST) ** self.random.random()
            sentences = self.settle(self.draft(good, target), good)
            text = " ".join(punctuated(s.text) for s in sentences)
            if SHORTEST <= len(text.split()) <= LONGEST:
                return text

    def draft(self, good: bool, target: float) -> list[Sentence]:
        """Sentences up to about `target` words: filler, and opinions that lean towards the polarity."""
        sentences: list[Sentence] = []
        length = 0
        while length < target:
            last = self.filler() if self.chance(0.25) else self.opinion(good == self.chance(0.88))
            sentences.append(last)
            length += count_words(last.text)
        if self.chance(0.3):
            sentences.append(self.ending(good == self.chance(0.85)))
        return sentences

    def settle(self, sentences: list[Sentence], good: bool) -> list[Sentence]:
        """Rewrite random sentences until the opinions add up to the polarity."""
        sign = 1 if good else -1
        while sign * sum(s.weight for s in sentences) <= 0:
            wrong = [i for i, s in enumerate(sentences) if sign * s.weight <= 0 and abs(s.weight) < 2]
            where = wrong[int(self.random.random() * len(wrong))] if wrong else -1
            sentences[where] = self.opinion(good) if wrong else self.ending(good)
        return sentences

    def title(self, good: bool) -> str:
        """A headline: what the writer thinks in a few words, and in a fifth of the cases nothing."""
        kind = self.random.random()
        if kind < 0.4:
            return self.ending(good).text.capitalize()
        if kind < 0.8:
            return f"{self.quality(good).capitalize()} {self.pick(self.words.names)}"
        return self.pick((f"About the {self.pick(self.words.parts)}", f"My new {self.pick(self.words.names)}"))


def count_words(text: str) -> int:
    """Words of a text, punctuation left out."""
    return sum(1 for word in text.split() if word not in {",", "."})


def punctuated(sentence: str) -> str:
    """Capitals and full stop, no space before a comma."""
    text = sentence.replace(" ,", ",").replace(" i ", " I ")
    return text[0].upper() + text[1:] + "."


def reviews(rows: int = ROWS, seed: int = SEED, noise: float = NOISE) -> pa.Table:
    """Product reviews with as many negative as positive labels (one more negative when `rows` is odd).

    Rows come in pairs of opposite labels and each pair has its own random stream, so that a larger table begins
    with the smaller one of the same seed and noise.

    Args:
        rows: how many, at least 2.
        seed: the same seed, the same table.
        noise: share of labels that contradict their text, 0 to 0.5.

    Returns:
        Columns text, label ("negative" or "positive"), product, title; all strings.
    """
    if rows < 2:
        raise ValueError(f"rows must be at least 2, got {rows}")
    if not 0 <= noise <= 0.5:
        raise ValueError(f"noise must lie in [0, 0.5], got {noise}")
    kinds = tuple(words.KINDS)
    columns: dict[str, list[str]] = {"text": [], "label": [], "product": [], "title": []}
    for pair in range((rows + 1) // 2):
        random = Random(f"{seed}/{pair}")  # noqa: S311  a corpus, not a secret
        turned = random.random() < noise
        for good in (False, True):
            kind = kinds[int(random.random() * len(kinds))]
            writer = Writer(random, kind)
            columns["text"].append(writer.review(good))
            columns["label"].append(LABEL_NAMES[good != turned])
            columns["product"].append(kind)
            columns["title"].append(writer.title(good))
    return pa.table({name: values[:rows] for name, values in columns.items()})
