"""Under what conditions a study's numbers came about, in words: rows, seeds, tests, machine, versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.analysis.families import Comparison
from harness.report import confirmed
from harness.report.confirmed import Confirmed
from harness.report.naming import listed, plural
from harness.report.study_frames import StudyFrames

UNCONFIRMED = (
    "Unconfirmed: these rows chose the best, which flatters it, and nothing ran again with new seeds after the search."
)
_LIBRARIES = {"torch": "PyTorch", "transformers": "Transformers", "datasets": "Datasets", "optuna": "Optuna"}


def of_numbers(study: StudyFrames) -> str:
    """How many rows and seeds the numbers rest on, and that they are unconfirmed where they are."""
    found = confirmed.of(study)
    if found is None:
        used = seeds(study)
        return (
            f"{validated_on(study)}, {plural(len(used), 'seed') if used else 'seeds are not recorded'}. {UNCONFIRMED}"
        )
    rows = f"n = {found.examples:,} {found.split} rows" if found.examples else f"{found.split} rows"
    return " ".join(part for part in (f"{rows}, {found.seeds()}.", found.lost_words, _chosen_by(found)) if part)


def _chosen_by(found: Confirmed) -> str:
    again = f" Tested {found.looks} times on growing data: p values times {found.looks**2}." if found.looks > 1 else ""
    if found.split != "test":
        return f"The same rows chose the configurations, which flatters them.{again}"
    if found.times_opened < 2:
        return f"No choice was made by these rows.{again}"
    opened = f"These rows were opened {found.times_opened} times, and later choices could know of results on them."
    return f"{opened}{again}"


def validated_on(study: StudyFrames) -> str:
    """How many rows the validation scores rest on."""
    return f"n = {len(study.examples):,} validation rows" if len(study.examples) else "n is not recorded"


def seeds(study: StudyFrames) -> list[int]:
    """The seeds of all trials, ascending; those of published runs are not known, and no seed is below 0."""
    return sorted({int(seed) for seed in study.trials["seed"].dropna().tolist() if seed >= 0})


def of_tests(family: Sequence[Comparison]) -> str:
    """Which test the p values are of and how they are corrected."""
    if not family:
        return ""
    tests = listed(sorted({each.test for each in family}))
    at_once = family[0].test == "max-t bootstrap"
    how = "corrected for all pairs of configurations at once" if at_once else f"corrected by Holm for {len(family)}"
    return f"Test: {tests}, two-sided, {how if len(family) > 1 else 'one comparison'}."


def hardware(study: StudyFrames) -> str:
    """The machines that the trials ran on, or that the record does not say."""
    found = list(dict.fromkeys(_machine(facts) for facts in study.environment["facts"].tolist()))
    done = [facts for facts in study.details["done"].tolist() if isinstance(facts, Mapping)]
    threads = sorted({int(facts["threads"]) for facts in done if facts.get("threads")})
    each = f", {listed(threads)} CPU thread{'' if threads == [1] else 's'} a trial" if threads else ""
    return f"Hardware: {listed(found, 3) or 'not recorded'}{each}."


def _machine(facts: Mapping[str, Any]) -> str:
    device, cores = facts.get("device") or {}, facts.get("cores") or {}
    parts = [str(device.get("name") or facts.get("cpu") or "not recorded")]
    if cores.get("usable"):
        parts.append(plural(int(cores["usable"]), "core"))
    if facts.get("memory_bytes"):
        parts.append(f"{facts['memory_bytes'] / 2**30:.0f} GiB of memory")
    return parts[0] + (f" ({', '.join(parts[1:])})" if parts[1:] else "")


def versions(study: StudyFrames) -> str:
    """Versions of Python and the libraries that numbers depend on; several where trials differ."""
    shown: dict[str, list[str]] = {}
    for facts in study.environment["facts"].tolist():
        packages = facts.get("packages") or {}
        found = {"Python": facts.get("python"), **{words: packages.get(name) for name, words in _LIBRARIES.items()}}
        found["harness"] = packages.get("harness")
        for name, version in found.items():
            if version and version not in shown.setdefault(name, []):
                shown[name].append(str(version))
    return listed([f"{name} {' and '.join(each)}" for name, each in shown.items() if each], 12)
