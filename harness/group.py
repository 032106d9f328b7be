"""A group of trials that one worker trains together, from their jobs to their outcomes.

Everything around the training is `trial.py`'s: loading, facts, the kept model, the words for failures. What cannot
be done together is done one after another.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import harness.devices as devices
from harness.errors import TrialFailure
from harness.heads import Column, Ended, train_together
from harness.jobs import TrialJob
from harness.loading import Loaded, facts_of, load, make_plan, take_shared
from harness.records import Incident, Progress, TrialFacts, TrialOutcome
from harness.sharing import Shared
from harness.training_plan import Plan, State, prepare
from harness.trial import Attempt, Control, Event, failed, keep_model, run, seconds_of, unless_interrupted
from harness.warm import Warm

Said = tuple[int, Event]
Result = TypeVar("Result")


@dataclass
class Member:
    """One trial of the group: what its own run would hold in local variables."""

    attempt: Attempt
    plan: Plan
    state: State
    facts: TrialFacts


def run_group(jobs: Sequence[TrialJob], warm: Warm, controls: Mapping[int, Control]) -> Iterator[Said]:
    """Run trials together; gives (trial, event), and for each trial one `TrialOutcome` as its last.

    Args:
        jobs: trials with equal `grouping.key`.
        warm: of this process.
        controls: of each trial; one that asks for an interruption ends the whole group as waiting.
    """
    ended: set[int] = set()
    try:
        for trial, event in _together(jobs, warm, controls) if len(jobs) > 1 else ():
            if isinstance(event, TrialOutcome):
                ended.add(trial)
            yield trial, event
    except Exception as error:  # whatever it is, each trial alone will show whose it is
        if not devices.answers(warm.device):
            raise  # none of them could begin in this process
        left = [job for job in jobs if job.trial not in ended]
        words = f"training {len(left)} trials together failed, they go on one by one: {type(error).__name__}: {error}"
        yield left[0].trial, Incident("group_failed", words)
    for job in jobs:
        if job.trial in ended:
            continue
        if len(jobs) > 1 and controls[job.trial].interrupted():
            yield job.trial, TrialOutcome("waiting", message="interrupted before it began")
        else:
            for event in run(job, warm, controls[job.trial]):
                yield job.trial, event


def _together(jobs: Sequence[TrialJob], warm: Warm, controls: Mapping[int, Control]) -> Iterator[Said]:
    """Those events that the group has together; nothing where this model has no cut for it."""
    attempts = [Attempt(job, warm, controls[job.trial], job.config) for job in jobs]
    first = jobs[0]
    seconds = attempts[0].seconds
    loaded = load(first, warm, seconds)
    if not loaded.encoder.outline.fuses:
        return
    began = time.perf_counter()
    work = unless_interrupted(take_shared(first, warm, loaded, first.config, 0), controls[first.trial])
    shared = yield from _told(first.trial, work)
    attempts[0].spend("share", began)
    if shared is None or not shared.cuts:
        return
    members = _members(attempts, loaded, shared)
    for member in members.values():
        yield member.attempt.job.trial, member.facts
    columns = [Column(trial, member.plan, member.state) for trial, member in members.items()]
    for event in train_together(columns):
        if isinstance(event, Progress):
            yield first.trial, event
        elif isinstance(event, Ended):
            yield from _end(members[event.trial], event.failure, loaded, shared, len(jobs))
        else:
            trial, record = event
            yield trial, record
            if members[trial].attempt.pruned():
                members[trial].state.stopped = "pruned"
        if any(control.interrupted() for control in controls.values()):
            break
    else:
        return
    for member in members.values():
        if not member.attempt.ended:
            message = "interrupted; trained together with others, it starts anew"
            yield member.attempt.job.trial, TrialOutcome("waiting", message=message)


def _told(trial: int, work: Generator[Event, None, Result]) -> Generator[Said, None, Result]:
    """The events of some work, told as those of one trial."""
    while True:
        try:
            event = next(work)
        except StopIteration as end:
            result: Result = end.value
            return result
        yield trial, event


def _members(attempts: Sequence[Attempt], loaded: Loaded, shared: Shared) -> dict[int, Member]:
    plan = make_plan(attempts[0].job, loaded, attempts[0].config, 0, shared)
    state = prepare(plan)
    plan.encoder.freeze("classifier", 1, 1)
    found = {}
    for attempt in attempts:
        own = replace(plan, config=attempt.config)
        facts = facts_of(own, loaded, shared, together=True)
        found[attempt.job.trial] = Member(attempt, own, replace(state, records=[], best=None), facts)
    return found


def _end(member: Member, failure: TrialFailure | None, loaded: Loaded, shared: Shared, together: int) -> Iterator[Said]:
    attempt, trial, state = member.attempt, member.attempt.job.trial, member.state
    attempt.ended = True
    if failure is not None:
        yield trial, failed(attempt, failure.reason, failure)
        return
    folder = yield from _told(trial, keep_model(attempt, loaded, member.plan, member.facts, state))
    work = shared.record(state.records)
    if attempt.seconds["share"] == 0.0:  # one trial fills for all
        work["prefix"] |= {"computed_rows": 0, "fill_seconds": 0.0}
    parts = seconds_of(attempt, state)
    total = sum(seconds for phase, seconds in parts.items() if phase != "total")
    yield (
        trial,
        TrialOutcome(
            "pruned" if attempt.pruned() else "complete",
            stopped_early="" if attempt.pruned() else state.stopped,
            seconds=parts | {"total": total},
            model_folder=folder,
            shared_work=work | {"fused": {"trials": together}},
        ),
    )
