"""Workers on a Ray cluster: one actor a device, each with the same worker process that a single machine starts.

Ray places the actors and says when one is gone. What is said between them and the coordinator is numbered, so that a
call that was lost on its way is simply repeated.
"""

from __future__ import annotations

import importlib.util
import math
import os
import secrets
import signal
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from harness.deadline import Stop
from harness.errors import Interrupted, UnavailableError, UsageError
from harness.executors.base import Executor, Job
from harness.executors.local import LOG_TAIL_BYTES, LocalExecutor
from harness.records import JobDone, Message, WorkerDied

REMEDY = "`ray start --head` begins one here, --address names another"
POLL_SECONDS = 1.0
ANSWER_SECONDS = 10.0
START_SECONDS = 300.0  # in which the first actor must have a place; Ray may have to start Python on every node
SEEN_SECONDS = 10.0  # in which a file of the coordinator must be seen on a node; network folders remember for a while
PASSED_ON = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_ENDPOINT")


class Order(NamedTuple):
    """What a post is told: submit a job, decide about pruning, interrupt."""

    number: int
    verb: str
    argument: Any = None


class Place(NamedTuple):
    """Where an actor came to live; `problem` says why it cannot work there."""

    node: str
    host: str
    problem: str = ""


class Shared(NamedTuple):
    """The coordinator's folder, and a file below it with a word that a node must be able to read."""

    folder: str
    mark: str
    word: str
    variables: dict[str, str]


class Post:
    """An actor: one worker of one node, spoken to by numbered orders and messages."""

    def __init__(self, logs: str, threads: int) -> None:
        self.executor = LocalExecutor(Path(logs), 1, threads)
        self.done = 0
        self.sent = 0
        self.kept: list[tuple[int, Message]] = []

    def begin(self, shared: Shared) -> Place:
        """Go to the coordinator's folder, if this node has it, and say where this is."""
        import ray

        node = str(ray.get_runtime_context().get_node_id())
        host = f"{socket.gethostname()}-{node[:8]}"
        os.environ.update(shared.variables)
        try:
            os.chdir(shared.folder)
        except OSError as error:
            return Place(node, host, f"it has no folder {shared.folder} ({error.strerror})")
        if not _seen(Path(shared.mark), shared.word):
            return Place(node, host, f"its {shared.folder} is another one than the coordinator's")
        return Place(node, host)

    def exchange(self, orders: list[Order], seen: int, seconds: float) -> tuple[int, list[tuple[int, Message]]]:
        """Do what is new of the orders, and say what the coordinator has not seen; both again after a lost call."""
        for order in orders:
            if order.number > self.done:
                self._do(order)
                self.done = order.number
        self.kept = [each for each in self.kept if each[0] > seen]
        wait = 0.0 if self.kept else seconds
        while said := self.executor.messages(wait):
            for _, message in said:
                self._say(message)
                if isinstance(message.event, WorkerDied | JobDone):
                    return self.done, self.kept
            wait = 0.0
        return self.done, self.kept

    def _do(self, order: Order) -> None:
        try:
            if order.verb == "submit":
                self.executor.submit(0, order.argument)
            elif order.verb == "decide":
                self.executor.decide(0, prune=order.argument)
            else:
                self.executor.interrupt(0)
        except OSError as error:  # a node without room for a log or a process
            self._say(Message(None, WorkerDied(1, f"{type(error).__name__}: {error}")))

    def _say(self, message: Message) -> None:
        self.sent += 1
        self.kept.append((self.sent, message))


def _seen(mark: Path, word: str) -> bool:
    end = time.monotonic() + SEEN_SECONDS
    while True:
        try:
            return mark.read_text("ascii") == word
        except OSError:
            if time.monotonic() > end:
                return False
            time.sleep(0.5)


def _must_answer(address: str) -> None:
    """Refuse at once what Ray would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UnavailableError(f"there is no Ray cluster at {address!r}: {error}. {REMEDY}") from error


@dataclass
class _Slot:
    """The coordinator's end of a post.

    Attributes:
        beginning: the answer of `begin`, until there is a place.
        orders: not confirmed yet.
        busy: it has a job.
        call: the exchange on its way, if any.
    """

    actor: Any
    beginning: Any
    place: Place | None = None
    orders: list[Order] = field(default_factory=list)
    told: int = 0
    seen: int = 0
    busy: bool = False
    call: Any = None


class RayExecutor(Executor):
    """One actor a GPU of the cluster, or one a node where there are none.

    Args:
        files: folder of the record's files, which every node must share.
        address: of the cluster: `auto` on one of its nodes, else ray://HOST:PORT or HOST:PORT.
        workers: number of slots, if another one is wanted.
        stop: how an end is asked for while the cluster has no room yet.

    Raises:
        UsageError: Ray is not installed here.
        Interrupted: an end was asked for.
        UnavailableError: there is no cluster, or its nodes do not share our folder.
    """

    def __init__(
        self, files: Path, address: str = "auto", workers: int | None = None, stop: Stop | None = None
    ) -> None:
        if importlib.util.find_spec("ray") is None:
            raise UsageError("--executor ray needs the package ray: pip install '.[ray]' in harness's folder")
        import ray

        self.ray = ray
        self._stop = stop or Stop()
        self.logs = (files / "logs").absolute()
        self._connect(address)
        try:
            self._shared = self._mark()
            self.slots, self._needs, self._threads = self._plan(workers)
            self._slots = {slot: self._start(slot) for slot in range(self.slots)}
            self._await_first()
        except BaseException:
            self.close()
            raise

    # --- the contract ---------------------------------------------------------------------------------

    def ready(self, slot: int) -> bool:
        """See the contract; a slot whose node is gone waits until the cluster has room again."""
        found = self._slots[slot]
        if found.place is None and self.ray.wait([found.beginning], timeout=0)[0]:
            try:
                place: Place = self.ray.get(found.beginning)
            except self.ray.exceptions.RayActorError:
                self._slots[slot] = self._start(slot)
                return False
            if place.problem:
                raise UnavailableError(
                    f"node {place.host} cannot take part: {place.problem}. Every node needs the folder where harness "
                    "is started and the database's files, on a network file system, under the same path"
                )
            found.place = place
        return found.place is not None

    def name(self, slot: int) -> str:
        """See the contract: host and node."""
        place = self._slots[slot].place
        return f"ray-{slot}" if place is None else place.host

    def submit(self, slot: int, job: Job) -> None:
        """See the contract."""
        self._order(slot, "submit", job)
        self._slots[slot].busy = True

    def decide(self, slot: int, *, prune: bool) -> None:
        """See the contract."""
        self._order(slot, "decide", prune)

    def interrupt(self, slot: int) -> None:
        """See the contract."""
        if self._slots[slot].busy:
            self._order(slot, "interrupt")

    def messages(self, timeout: float) -> list[tuple[int, Message]]:
        """See the contract."""
        calls = {}
        for slot, found in self._slots.items():
            if found.busy and found.call is None and self.ready(slot):
                found.call = found.actor.exchange.remote(list(found.orders), found.seen, POLL_SECONDS)
            if found.call is not None:
                calls[found.call] = slot
        if not calls:
            time.sleep(timeout)
            return []
        answered, _ = self.ray.wait(list(calls), num_returns=1, timeout=timeout)
        if answered:
            answered, _ = self.ray.wait(list(calls), num_returns=len(calls), timeout=0)
        return [(calls[call], message) for call in answered for message in self._answer(calls[call], call)]

    def kill(self, slot: int) -> None:
        """See the contract."""
        self.ray.kill(self._slots[slot].actor)
        self._slots[slot] = self._start(slot)

    def close(self) -> None:
        """End all actors, with which their workers end, and leave the cluster."""
        for found in getattr(self, "_slots", {}).values():
            self.ray.kill(found.actor)
        if hasattr(self, "_shared"):
            Path(self._shared.mark).unlink(missing_ok=True)
        self.ray.shutdown()

    # --- the cluster ------------------------------------------------------------------------------------

    def _connect(self, address: str) -> None:
        _must_answer(address)
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            self.ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, OSError, ValueError, RuntimeError) as error:
            raise UnavailableError(f"there is no Ray cluster at {address!r}: {error}. {REMEDY}") from error
        finally:  # Ray takes SIGTERM for itself
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _mark(self) -> Shared:
        """A file that only a node with our folder can read."""
        self.logs.mkdir(parents=True, exist_ok=True)
        word = secrets.token_hex(16)
        mark = self.logs / f"shared-{word[:8]}"
        mark.write_text(word)
        variables = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        return Shared(os.getcwd(), str(mark.absolute()), word, variables)

    def _plan(self, workers: int | None) -> tuple[int, dict[str, float], int]:
        """How many actors, what each needs of a node, and the threads of its worker."""
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        with_gpus = [node for node in nodes if node.get("GPU", 0) >= 1]
        if with_gpus:
            slots = workers or sum(int(node["GPU"]) for node in with_gpus)
            threads = min(int(node.get("CPU", 1)) // int(node["GPU"]) for node in with_gpus)
            return slots, {"num_gpus": 1, "num_cpus": 1}, max(1, threads)
        with_cpus = [node for node in nodes if node.get("CPU", 0) >= 1]
        if not with_cpus:
            raise UnavailableError("no node of the Ray cluster has a GPU or a CPU to work with")
        slots = workers or len(with_cpus)
        threads = max(1, int(min(node["CPU"] for node in with_cpus)) // math.ceil(slots / len(with_cpus)))
        return slots, {"num_gpus": 0, "num_cpus": threads}, threads

    def _start(self, slot: int) -> _Slot:
        """An actor that begins as soon as the cluster has room, so that it also tells an autoscaler what is needed."""
        remote = self.ray.remote(Post).options(**self._needs, scheduling_strategy="SPREAD")
        actor = remote.remote(str(self.logs / f"ray-{slot}"), self._threads)
        return _Slot(actor, actor.begin.remote(self._shared))

    def _await_first(self) -> None:
        """Wait until the first slot, which prepares the study, has its place."""
        end = time.monotonic() + START_SECONDS
        while not self.ready(0):
            if self._stop.asked:
                raise Interrupted("interrupted while no node had room for a worker", self._stop.exit_code)
            if time.monotonic() > end:
                raise UnavailableError(
                    f"the Ray cluster has found no room for a worker that needs {self._needs} in "
                    f"{START_SECONDS / 60:.0f} minutes; `ray status` says what is taken"
                )
            self.ray.wait([self._slots[0].beginning], timeout=POLL_SECONDS)

    # --- one slot -----------------------------------------------------------------------------------------

    def _order(self, slot: int, verb: str, argument: Any = None) -> None:
        found = self._slots[slot]
        found.told += 1
        found.orders.append(Order(found.told, verb, argument))

    def _answer(self, slot: int, call: Any) -> list[Message]:
        """What an exchange brought; one that was lost on its way is made again by the next `messages`."""
        found = self._slots[slot]
        found.call = None
        try:
            done, said = self.ray.get(call)
        except self.ray.exceptions.ActorUnavailableError:
            time.sleep(POLL_SECONDS / 10)
            return []
        except self.ray.exceptions.RayActorError as error:
            return [Message(None, self._bury(slot, str(error)))]
        found.orders = [order for order in found.orders if order.number > done]
        new = [(number, message) for number, message in said if number > found.seen]
        if new:
            found.seen = new[-1][0]
            found.busy = not any(isinstance(message.event, JobDone | WorkerDied) for _, message in new)
        return [message for _, message in new]

    def _bury(self, slot: int, words: str) -> WorkerDied:
        """An actor is gone, alone or with its node; another one waits for room."""
        place = self._slots[slot].place
        assert place is not None
        alive = {node["NodeID"] for node in self.ray.nodes() if node["Alive"]}
        self._slots[slot] = self._start(slot)
        return WorkerDied(-9, words[-LOG_TAIL_BYTES:], node="" if place.node in alive else place.host)
