"""Nights that begin within milliseconds, for tests that kill very many of them; see `zygote.py`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from forking import Zygote
from nights import Night
from records import violated

from harness.repair import repair

STUDY = """
study: night
task: sequence-classification
model: builtin:tiny
data: {path: "builtin:reviews", rows: 64, validation: 16}
fixed: {max_length: 16, batch_size: 8, dtype: fp32}
configurations:
  - {epochs: 3, learning_rate: 1e-3}
  - {epochs: 2, learning_rate: 2e-4, freeze: top-2}
objective: accuracy
keep: 1
"""
CHECKPOINT_SECONDS = 0.1
Outcome = dict[str, list[Any]]


class Straight(NamedTuple):
    """An undisturbed night: all that must not depend on interruptions, and how long it takes."""

    outcome: Outcome
    seconds: float


class Pace:
    """How long a night may go on before it is disturbed: some six times fit into one, however busy the machine is."""

    def __init__(self, straight: Straight) -> None:
        self.seconds = 0.6 * straight.seconds

    def after(self, hits: int) -> None:
        """A night is through that was disturbed so many times."""
        self.seconds *= 0.6 if hits < 4 else 1.2 if hits > 8 else 1.0


def worker_of(coordinator: int) -> int | None:
    """Process id of its worker, if it has one at this moment."""
    try:
        children = Path(f"/proc/{coordinator}/task/{coordinator}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(children[0]) if children else None


class ForkedNight(Night):
    """A study in a folder of its own."""

    def __init__(
        self, folder: Path, parent: Zygote, text: str = STUDY, checkpoint_seconds: float = CHECKPOINT_SECONDS
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder, text)
        self.parent = parent
        self.checkpoint_seconds = checkpoint_seconds
        self.held: dict[int, int] = {}
        self.taken_before = 0

    def begin(
        self,
        deaths: Sequence[str] = (),
        output: str = "output.txt",
        arguments: Sequence[str] = ("run", "night.yaml"),
    ) -> int:
        """Process id of a coordinator that has just been forked; it writes what it says into that file."""
        self.held, self.taken_before = self.checkpointed(), len(self.steps())
        return self.parent.ask(
            folder=str(self.folder),
            arguments=list(arguments),
            checkpoint_seconds=self.checkpoint_seconds,
            deaths=list(deaths),
            output=output,
        )

    def end(self, pid: int) -> int:
        """Exit code of a coordinator, when it has ended."""
        return self.parent.ask(wait=pid)

    def through(self, *deaths: str) -> int:
        """Exit code of a whole invocation."""
        return self.end(self.begin(deaths))

    @property
    def output(self) -> str:
        """What the last invocation said."""
        return (self.folder / "output.txt").read_text()

    def outcome(self) -> Outcome:
        """Everything that must not depend on interruptions: states, metrics, outputs, kept weights."""
        of_trials = "JOIN harness_trial t ON t.id = p.trial_id ORDER BY 1, 2, 3, 4"
        return {
            "trials": self.rows(
                "SELECT number, state, best_epoch, objective, verdict_words FROM harness_trial ORDER BY number"
            ),
            "metrics": self.curves(),
            "outputs": self.rows(
                f"SELECT t.number, p.epoch, p.split, p.kind, p.data FROM harness_prediction p {of_trials}"
            ),
            "weights": sorted(
                (str(path.relative_to(self.folder)), hashlib.sha256(path.read_bytes()).hexdigest())
                for path in self.folder.glob("results.files/trials/*/model/model.safetensors")
            ),
        }

    def went_on(self, orphans: bool = False) -> int:
        """How many trials the last invocation took up from a checkpoint; each at the step after it.

        Args:
            orphans: whether a worker may have outlived the coordinator before, and taken and saved some more steps.
        """
        taken = self.steps()
        workers = {each.worker for each in taken[: self.taken_before]}
        new = [each for each in taken[self.taken_before :] if each.worker not in workers]
        firsts = {trial: step for _, trial, step in reversed(new) if trial in self.held}
        for trial, step in firsts.items():
            assert step - 1 == self.held[trial] or (orphans and step - 1 > self.held[trial]), (firsts, self.held)
        return len(firsts)

    def saved_at_its_end(self) -> int:
        """How many trials the last invocation left in their midst; each with a checkpoint of its very last step."""
        if not self.db.exists():
            return 0
        lasts = {trial: step for _, trial, step in self.steps()[self.taken_before :]}
        waiting = {trial for (trial,) in self.rows("SELECT id FROM harness_trial WHERE state = 'waiting'")}
        left = {trial: step for trial, step in lasts.items() if trial in waiting}
        held = self.checkpointed()
        assert {trial: held.get(trial) for trial in left} == left, (left, held)
        return len(left)

    def ends_as(self, expected: Outcome) -> None:
        """The next run goes on by itself to the undisturbed result, bit for bit, and leaves nothing over."""
        assert self.through() == 0, self.output
        found = self.outcome()
        assert found["trials"] == expected["trials"], self.rows("SELECT trial_id, kind, message FROM harness_incident")
        assert found == expected
        repair(self.db)
        assert violated(self.db) == []
        assert repair(self.db).done == ()

    def only_passing(self) -> None:
        """After a kill nothing is wrong that going on does not mend."""
        if self.db.exists():
            assert [str(violation) for violation in violated(self.db) if not violation.mend] == []
