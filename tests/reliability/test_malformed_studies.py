"""Study files that are damaged or made up: a study that means what the file says, or a refusal that names the place."""

from __future__ import annotations

import re
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nights import Night

from harness.configuration import hyperparameters
from harness.errors import SpecError
from harness.spec import StudySpec, init_template, parse_study, read_study
from harness.yaml_reader import write_yaml

STUDIES = Path(__file__).parent.parent.parent / "studies"
VALID = [init_template("x"), *(path.read_text() for path in sorted(STUDIES.glob("*.yaml")))]
SECONDS, MEGABYTES = 5.0, 500
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # as the reader's: they differ about tabs before a colon


# --- what a file says, by other means than the product's -----------------------------------------------------


def said(node: Any) -> Any:
    """The plain value of a node of PyYAML, whose scalars it leaves as text, by the rules of YAML 1.2."""
    if isinstance(node, yaml.MappingNode):
        assert len({key.value for key, _ in node.value}) == len(node.value), "a key stands twice"
        return {key.value: said(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [said(item) for item in node.value]
    if node.style:
        return node.value
    if node.value in ("", "~", "null", "Null", "NULL"):
        return None
    if node.value.lower() in ("true", "false") and node.value in (
        node.value.lower(),
        node.value.title(),
        node.value.upper(),
    ):
        return node.value.lower() == "true"
    if re.fullmatch(r"[-+]?\d+|0x[0-9a-fA-F]+|0o[0-7]+", node.value, re.ASCII):
        return int(node.value, 0 if node.value[:2] in ("0x", "0o") else 10)
    if re.fullmatch(r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?", node.value, re.ASCII):
        return float(node.value)
    return node.value


def seconds_of(words: Any) -> float:
    """A duration such as 1h30m."""
    units = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
    return float(sum(int(count) * units[unit] for count, unit in re.findall(r"(\d+)([dhms])", words)))


def holds(understood: Any, written: Any, key: str = "") -> bool:
    """Whether what was understood has every value that was written; nothing may be dropped or turned into another."""
    if written is None:
        return True  # an empty key is an absent key
    if isinstance(understood, dict) and isinstance(written, dict):
        return all(
            value is None or (k in understood and holds(understood[k], value, k)) for k, value in written.items()
        )
    if isinstance(understood, list) and isinstance(written, list):
        return len(understood) == len(written) and all(map(holds, understood, written))
    if isinstance(understood, dict):  # a word alone stands for a mapping
        return written in (understood.get("name"), understood.get("metric"))
    if isinstance(written, dict):
        return set(written) == {"name"} and written["name"] == understood
    if key == "time" and isinstance(written, str):
        return bool(understood == seconds_of(written))
    if isinstance(written, bool) or isinstance(understood, bool):
        return written is understood
    return bool(understood == written) and isinstance(written, str) == isinstance(understood, str)


def refused_or_meant(text: str) -> None:
    """The claim of this file, for one text."""
    began = time.process_time()  # what others take of the machine is no fault of the file
    try:
        spec = parse_study(text, (), "f.yaml").spec
    except SpecError as error:
        assert all(re.match(r"f\.yaml(:\d+)?: ", line) for line in str(error).splitlines()[:1]), str(error)
        assert len(str(error)) < 5_000
    else:
        written = said(yaml.compose(text, Loader=LOADER))
        if "objective" in written:
            written["objectives"] = [written.pop("objective")]
        assert holds(spec.content(), written), (spec.content(), written)
    assert time.process_time() - began < SECONDS


# --- two thousand files --------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    "- : [ ] { } , # & * ! | > ' \" % @ ` ? ~ 1 -1 0 1e-5 010 0x1F 1_000 12:30 .inf .nan null true no off yes study "
    "data search fixed epochs top-2 a: b: low: high: log: loss f1 !!python/object/apply:os.system <<: *a &a --- ... "
    "9999999999999999999 1e999 \t \x00 \x85 \u2028 \ufeff \r é \U0001f600".split(" ")
) | st.text(max_size=5)


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A valid study file with a few characters, words or lines put in, taken out, doubled or moved."""
    text = draw(st.sampled_from(VALID))
    for _ in range(draw(st.integers(1, 4))):
        if draw(st.booleans()):
            start = draw(st.integers(0, len(text)))
            end = min(len(text), start + draw(st.integers(0, 12)))
            text = text[:start] + draw(PIECES | st.just(text[start:end] * 2)) + text[end:]
        else:
            lines = text.splitlines(keepends=True)
            taken = lines.pop(draw(st.integers(0, len(lines) - 1))) if lines else ""
            lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from([taken, taken * 2, f"  {taken}", ""])))
            text = "".join(lines)
    return text


WORDS = st.sampled_from(
    "builtin:tiny builtin:reviews rows.csv text label 8h 90m 07:30 f1 loss accuracy tpe grid median hyperband none "
    "top-2 head bf16 auto linear eval test error drop sequence-classification ../x ~ null "
    "true 1e-5".split()
)
NUMBERS = st.integers(-2, 600) | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.1, 1e-5, 2**63])
KEYS = sorted({*StudySpec.model_json_schema(by_alias=True)["properties"], *hyperparameters()})
INNER = """path text label train validation split size stratify low high log step name metric direction at trials time
until top seeds baseline epochs batch_size learning_rate max_length freeze patience""".split()
VALUES = st.recursive(
    st.none() | st.booleans() | WORDS | NUMBERS | st.text(max_size=6),
    lambda below: (
        st.lists(below, max_size=3) | st.dictionaries(st.sampled_from(INNER) | st.text(max_size=3), below, max_size=3)
    ),
    max_leaves=6,
)
SECTIONS = st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), VALUES, max_size=6)
SEARCHED = st.dictionaries(
    st.sampled_from(sorted(hyperparameters())),
    st.lists(WORDS | NUMBERS, min_size=1, max_size=3) | st.fixed_dictionaries({"low": NUMBERS, "high": NUMBERS}),
    max_size=3,
)


@st.composite
def made_up(draw: st.DrawFn) -> str:
    """A study of the grammar: needed keys mostly there, others at random, values of any kind."""
    study: dict[str, Any] = {"study": draw(st.just("s") | WORDS), "model": "builtin:tiny"}
    study["data"] = {"path": "builtin:reviews", "validation": draw(st.just(50) | NUMBERS | VALUES)}
    study |= {"search": draw(SEARCHED), "budget": {"trials": draw(st.just(3) | NUMBERS)}}
    study |= draw(SECTIONS)
    if draw(st.booleans()):
        study.pop(draw(st.sampled_from(sorted(study))))
    return write_yaml(study)


COMMON = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}
USUAL, SOAKED = 1_000, 100_000
Times = Callable[[int, int], int]


def all_refused_or_meant(texts: st.SearchStrategy[str], count: int) -> None:
    """The claim for so many texts: in every run the same ones, in a soak others each time."""
    settings(max_examples=count, derandomize=count <= USUAL, **COMMON)(given(texts)(refused_or_meant))()


@pytest.mark.timeout(4 * 3600)
def test_a_damaged_study_file_means_what_it_says_or_is_refused(times: Times) -> None:
    all_refused_or_meant(damaged(), times(USUAL, SOAKED))


@pytest.mark.timeout(4 * 3600)
def test_a_made_up_study_file_means_what_it_says_or_is_refused(times: Times) -> None:
    all_refused_or_meant(made_up(), times(USUAL, SOAKED))


@pytest.mark.parametrize("text", [*VALID, VALID[0].replace("\nmodel:", "\nmodel\t:")])
def test_the_valid_files_themselves_are_accepted_with_their_meaning(text: str) -> None:
    parse_study(text)
    refused_or_meant(text)


@settings(max_examples=200, derandomize=True, **COMMON)
@given(st.binary(max_size=40), st.integers(0, 600), st.integers(0, 30))
def test_bytes_that_are_no_text_are_refused_with_the_file(
    tmp_path_factory: pytest.TempPathFactory, put: bytes, at: int, over: int
) -> None:
    content = VALID[0].encode()
    path = tmp_path_factory.getbasetemp() / "bytes.yaml"
    path.write_bytes(content[:at] + put + content[at + over :])
    try:
        read_study(path)
    except SpecError as error:
        assert str(error).startswith(str(path))


# --- traps, one by one (S4) ----------------------------------------------------------------------------------


def bomb(levels: int) -> str:
    return "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, levels))


@pytest.mark.parametrize(
    ("added", "words"),
    [
        ("keep: !!python/object/apply:os.system ['touch canary']\n", "the tag .* is not allowed"),
        ("keep: !!python/name:os.system\n", "the tag .* is not allowed"),
        ("keep: !!binary aGk=\n", "the tag .* is not allowed"),
        (bomb(40), "the anchor &a0 is not allowed"),
        ("keep: *nothing\n", "alias"),
        ("<<: {keep: 3}\n", "no known key"),
        ("keep: 3\nkeep: 4\n", "'keep' stands twice, first in line"),
        ("'keep': 3\nkeep: 4\n", "'keep' stands twice"),
        ("x: " + "[" * 5_000 + "]" * 5_000 + "\n", "nested deeper than 50"),
        ("x: " + "{a: " * 5_000 + "1" + "}" * 5_000 + "\n", "nested deeper than 50"),
        ("x: 1\n---\ny: 2\n", "a second document begins"),
        ("keep: .nan\n", "no finite number"),
        ("keep: 1e999\n", "too large"),
        (f"keep: {'9' * 5_000}\n", "too large"),
        ("keep: 99999999999999999999\n", "too large"),
        ("keep: 1_0\n", "keep must be a whole number, got '1_0'"),
        ("keep: 12:30:00\n", "keep must be a whole number, got '12:30:00'"),
        ("store_texts: no\n", "store_texts must be true or false, got 'no'"),
        ("store_texts: 1\n", "store_texts must be true or false, got 1"),
        ("keep: true\n", "keep must be a whole number, got true"),
        ("keep: '3'\n", "keep must be a whole number, got '3'"),
        ("watchdog: 1.5h\n", "watchdog must be a number"),
        ("? [a, b]\n: 1\n", "a key must be a word"),
        ("\u202ekeep: 3\n", "no known key"),
        ("keep\u00a0: 3\n", "no known key"),
    ],
)  # fmt: skip
def test_a_trap_of_yaml_is_refused_with_its_line(added: str, words: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()  # what others take of the machine is no fault of the file
    with pytest.raises(SpecError, match=rf"^f\.yaml:\d+: .*{words}|\nf\.yaml:\d+: .*{words}") as refused:
        parse_study(
            "study: s\nmodel: builtin:tiny\ndata: {path: builtin:reviews}\nbudget: {trials: 1}\n" + added, (), "f.yaml"
        )
    assert time.process_time() - began < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEGABYTES * 1024
    assert "\u202e" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


# --- the command ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command_ends_with_78_and_the_place_and_makes_nothing(tmp_path: Path) -> None:
    night = Night(tmp_path)
    texts = [
        "study: [", "\x00", "study: s\n", VALID[0].replace("seed: 42", "seed: -1"),
    ]  # fmt: skip
    for text in texts:
        night.file.write_text(text)
        code, output = night.run()
        assert code == 78 and "night.yaml" in output and "Traceback" not in output, output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["night.yaml"]
