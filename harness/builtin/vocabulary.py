"""The words of `builtin:reviews`: product kinds with their parts, opinions of either polarity, neutral filler.

Written for this project; `corpus.py` puts the words together.
"""

from __future__ import annotations

from typing import NamedTuple


class Kind(NamedTuple):
    """One kind of product: what it is called, its parts, and what happens to it when it is good or bad."""

    names: tuple[str, ...]
    parts: tuple[str, ...]
    good: tuple[str, ...]
    bad: tuple[str, ...]


# A word a line would bury the tables.
# fmt: off
KINDS: dict[str, Kind] = {
    "phone": Kind(
        ("phone", "handset", "smartphone"),
        (
            "screen", "battery", "camera", "speaker", "charger", "case", "keyboard", "signal", "menu",
            "fingerprint reader",
        ),
        (
            "the battery lasts two full days", "photos come out sharp even at night", "calls are clear on both ends",
            "it unlocks at the first touch", "it charges in under an hour",
        ),
        (
            "the battery is empty by noon", "photos come out blurred even in daylight", "calls drop all the time",
            "it restarts in the middle of a call", "it gets too hot to hold",
        ),
    ),
    "headphones": Kind(
        ("headset", "pair of headphones", "set of headphones"),
        ("bass", "cable", "ear pads", "microphone", "headband", "treble", "plug", "noise filter", "bluetooth link"),
        (
            "i forget that i am wearing them", "every instrument has its place", "the train around me disappears",
            "the link holds across the whole house",
        ),
        (
            "my ears hurt after ten minutes", "the left side went silent", "there is a hiss in every song",
            "the link breaks as soon as i turn my head",
        ),
    ),
    "blender": Kind(
        ("blender", "mixer", "machine"),
        ("motor", "jar", "blade", "lid", "base", "pulse button", "seal", "measuring cup"),
        (
            "it crushes ice in seconds", "it rinses clean under the tap", "soup comes out like silk",
            "it starts every morning without a murmur",
        ),
        (
            "it leaks all over the counter", "it smelled of burning on the first day",
            "it leaves lumps in everything", "the whole kitchen shakes when it runs",
        ),
    ),
    "novel": Kind(
        ("novel", "book", "story"),
        ("plot", "ending", "dialogue", "hero", "first chapter", "cover", "print", "translation", "villain", "prose"),
        (
            "i read it in one night", "i laughed out loud on the bus", "i have already lent it to three friends",
            "the last page made me cry",
        ),
        (
            "i gave up after fifty pages", "i fell asleep twice", "i guessed the murderer on page nine",
            "pages fell out while i was reading",
        ),
    ),
    "jacket": Kind(
        ("jacket", "coat", "parka"),
        ("zip", "lining", "hood", "colour", "sleeves", "pockets", "seams", "fabric", "collar"),
        (
            "i stayed dry in a storm", "it fits as if made for me", "it looks new after twenty washes",
            "strangers ask me where i got it",
        ),
        (
            "i was soaked after one shower", "the zip came off in my hand", "it shrank in the first wash",
            "the seams opened within a week",
        ),
    ),
    "backpack": Kind(
        ("backpack", "rucksack", "bag"),
        ("straps", "zips", "bottle pocket", "laptop sleeve", "back panel", "buckles", "rain cover", "handle"),
        (
            "my shoulders feel nothing after a long day", "everything stays in its place",
            "it swallowed a week of clothes", "it survived three airports",
        ),
        (
            "a strap tore on the second trip", "my notes got wet", "it cuts into my shoulders",
            "the bottom wore through in a month",
        ),
    ),
    "coffee maker": Kind(
        ("coffee maker", "coffee machine", "brewer"),
        ("water tank", "grinder", "milk frother", "display", "drip tray", "timer", "filter", "heating plate"),
        (
            "the first cup is ready before i am awake", "the foam stands like in a bar",
            "guests ask for a second cup", "it cleans itself while i shower",
        ),
        (
            "the coffee is lukewarm at best", "there is water under it every day", "it takes ages for one cup",
            "the pump gave up after a week",
        ),
    ),
    "lamp": Kind(
        ("lamp", "desk lamp", "light"),
        ("switch", "arm", "shade", "base", "dimmer", "bulb", "cord", "joint", "clamp"),
        (
            "my eyes no longer tire in the evening", "it stays exactly where i point it",
            "the whole desk is lit evenly", "it turned a dark corner into my favourite place",
        ),
        (
            "it flickers every few seconds", "the arm sinks by itself", "it hums louder than my fridge",
            "it fell over when i opened the window",
        ),
    ),
}

GOOD = (
    "good", "great", "excellent", "lovely", "solid", "reliable", "superb", "pleasant", "brilliant", "perfect",
    "wonderful", "fantastic", "nice", "sturdy", "clever", "beautiful",
)
BAD = (
    "bad", "poor", "terrible", "awful", "flimsy", "disappointing", "useless", "dreadful", "annoying", "cheap",
    "horrible", "faulty", "weak", "shoddy", "ugly", "clumsy",
)
ADVERBS = ("", "", "", "really ", "very ", "quite ", "rather ", "simply ", "honestly ", "surprisingly ")
GOOD_ADVERBS = ("truly ", "wonderfully ", "pleasantly ", "perfectly ", "absolutely ")
BAD_ADVERBS = ("painfully ", "downright ", "utterly ", "horribly ", "far too ")
NEGATIONS = (
    "not", "not", "not at all", "hardly", "never", "far from", "anything but", "by no means", "in no way",
    "nowhere near",
)
LIKE = ("love", "like", "enjoy", "admire", "trust", "adore")
DISLIKE = ("hate", "dislike", "regret", "resent", "distrust", "despise")
BUTS = ("but", "yet", "however", "only", "still")
ALTHOUGHS = ("although", "even though", "while", "though")
RUINED = ("ruined it", "spoiled everything", "let me down", "made me send it back", "cancelled that out")
SAVED = ("saved it", "made up for everything", "won me over", "made me keep it", "more than makes up for that")

GOOD_ENDINGS = (
    "i would buy it again", "i recommend it to everyone", "five stars from me", "worth every cent", "i am keeping it",
    "buy it while you can", "money well spent", "i could not be happier", "it has earned its place", "no regrets",
)
BAD_ENDINGS = (
    "i want my money back", "i would not buy it again", "one star is one too many", "a waste of money",
    "it went back to the shop", "save your money", "stay away from this one", "i could not be less happy",
    "never again", "i regret the purchase",
)

PEOPLE = (
    "my sister", "my brother", "my neighbour", "a friend", "my mother", "my father", "a colleague", "the seller",
    "my husband", "my wife", "the man in the shop", "everybody online", "the advert", "another reviewer",
)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
COLOURS = ("black", "white", "blue", "red", "green", "grey", "silver", "brown", "yellow", "orange")
TIMES = ("two days", "a week", "three weeks", "a month", "two months", "half a year", "a year", "ten days")
PLACES = (
    "the kitchen", "the office", "my room", "the garden", "the train", "the car", "the gym", "our holiday flat",
    "the library", "school",
)
OPENERS = (
    "", "", "", "", "well , ", "so , ", "in short , ", "to be fair , ", "to my mind , ", "for me , ",
    "after {time} , ", "as for me , ", "all in all , ", "to be honest , ",
)
CLOSERS = (
    "", "", "", "", "", " , at least so far", " , for now", " , as it happens", " , if you ask me", " , i must say",
    " , for what it costs",
)

FILLERS = (
    "i ordered the {colour} one on {day}", "it came in a {colour} box with a small booklet",
    "{person} bought the same {name} last year", "i use it mostly in {place}",
    "the parcel arrived on {day} and i opened it the same evening", "i have had it for {time} now",
    "there is also a {colour} version", "before that i looked at three other {kind} reviews",
    "it was meant as a present for {person}", "i took it to {place} and later to {place}",
    "the {part} is {colour} and the {part} is {colour}",
    "you find the {part} on the left and the {part} on the right", "i paid the usual price for a {name}",
    "{person} told me about it on {day}", "i am writing this after {time} of use",
    "it stands in {place} next to the {colour} one",
)
# Opinions about something else: a reader has to see that they do not count.
DISTRACTORS = (
    "my old {name} was {any}", "the {name} of {person} is {any} , they say", "the shop itself was {any}",
    "i had read that the {part} would be {any}", "{person} expected something {any}",
    "the weather was {any} on the day it came", "the one i had before had a {any} {part}",
)
