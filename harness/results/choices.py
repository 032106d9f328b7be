"""What was chosen to be confirmed, read from the record: which configurations, with which seeds, and when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from harness.results.tables import incident

CHOSEN, OPENED = "confirmation", "test rows opened"


@dataclass(frozen=True)
class Choice:
    """What runs again once the search is over.

    Attributes:
        configurations: fingerprints of the best ones, best first; the baseline is not among them.
        baseline: fingerprint; None where the study file names none.
        replicates: of each of them; none that the search had run.
        trials: how many that makes, folds included.
    """

    configurations: tuple[str, ...]
    baseline: str | None
    replicates: tuple[int, ...]
    trials: int

    @property
    def prints(self) -> tuple[str, ...]:
        """Fingerprints of everything that runs again, the baseline last."""
        return self.configurations if self.baseline is None else (*self.configurations, self.baseline)

    def has(self, fingerprint: str, replicate: int) -> bool:
        """Whether a trial of that configuration and replicate is one of these."""
        return replicate in self.replicates and fingerprint in self.prints

    def as_details(self) -> dict[str, Any]:
        """As the details of an incident."""
        return asdict(self)

    @classmethod
    def read(cls, details: Mapping[str, Any]) -> Choice:
        """The inverse of `as_details`."""
        prints, replicates = tuple(details["configurations"]), tuple(details["replicates"])
        return cls(prints, details["baseline"], replicates, details["trials"])


def choices(connection: sa.Connection, study_id: int) -> list[Choice]:
    """All choices of a study, the newest last: an extended search may choose anew."""
    query = sa.select(incident.c.details).where(incident.c.study_id == study_id, incident.c.kind == CHOSEN)
    return [Choice.read(details) for details in connection.scalars(query.order_by(incident.c.id))]
