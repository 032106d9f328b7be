"""What ended trials leave on disk: the weights of the best few, and nothing else.

A trial's files go only after its row is safe; what a killed process left over goes when the next night begins.
"""

from __future__ import annotations

import shutil

from harness.metrics import costs
from harness.results.store import Store
from harness.roster import Roster


def bar(roster: Roster, keep: int) -> float | None:
    """The objective that a trial must beat to be among the `keep` best.

    None while there is room, or one that did not come to its end to make room; and where the objective is a cost, which
    a worker does not know before its trial has ended.
    """
    kept = roster.kept()
    if not 0 < keep <= len(kept) or roster.spec.objectives[0].metric in costs():
        return None
    last = kept[keep - 1]
    return last.objective if last.state == "complete" else None


def tidy(store: Store, roster: Roster, trial_id: int, keep: int) -> None:
    """Of an ended trial all but its kept weights go, and of others what it beats."""
    _clear(store, trial_id, but=roster.folder(trial_id))
    _forget_surplus(store, roster, keep)


def tidy_all(store: Store, roster: Roster, keep: int) -> None:
    """The same for every ended trial that has a folder."""
    _forget_surplus(store, roster, keep)
    there = {path.name for path in (store.files / "trials").iterdir()}
    for trial in roster:
        if trial.finished and store.trial_folder(trial.id).name in there:
            _clear(store, trial.id, but=roster.folder(trial.id))


def _forget_surplus(store: Store, roster: Roster, keep: int) -> None:
    for beaten in roster.kept()[keep:]:
        store.forget_model(beaten.id)
        roster.put(store.trial(beaten.id))
        _clear(store, beaten.id, but=None)


def _clear(store: Store, trial_id: int, but: str | None) -> None:
    folder = store.trial_folder(trial_id)
    if folder.is_symlink():
        return  # what it points to is not ours to empty
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name != but:
            shutil.rmtree(path, ignore_errors=True)
    if but is None:
        shutil.rmtree(folder, ignore_errors=True)
