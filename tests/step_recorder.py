"""What stands in for CUDA graphs on a CPU."""

from __future__ import annotations

from collections.abc import Callable


class Again:
    """Replays a step by taking it again, and counts."""

    def __init__(self) -> None:
        self.run_plainly = self.recorded = self.replayed = 0

    def run(self, step: Callable[[], None]) -> int:
        self.run_plainly += 1
        step()
        return 1000 + self.run_plainly

    def record(self, step: Callable[[], None]) -> Callable[[], None]:
        self.recorded += 1

        def replay() -> None:
            self.replayed += 1
            step()

        return replay
