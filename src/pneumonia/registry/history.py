"""Who was champion, when, and why: an append-only log of alias moves in the MLflow store itself.

Each move is a parameter of one run, which belongs to no version and so outlives all of them. MLflow never changes a
parameter that a run has, and takes a new one from one writer only: so the log cannot be rewritten, and of two
processes that would write the same entry, one is refused. That is the lock: who has written the entry has won.

An entry is written before the alias moves, and a second parameter says that it has moved. An entry without one is a
move that was cut short; `settle` finishes it.
"""

import getpass
import json
import re
import socket
import time
import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from pneumonia.errors import PromotionError
from pneumonia.registry.versions import CHAMPION, aliases
from pneumonia.tracking import Store, explain_refusals

PROMOTED, ROLLED_BACK, FOUND = "promoted", "rolled back", "found"
LONGEST_REASON = 2000
"""Characters; MLflow takes 6,000 for the whole entry."""

_ENTRY = re.compile(r"\d{6}")
_SECONDS_FOR_ANOTHER_TO_BEGIN = 20


@dataclass(frozen=True)
class Move:
    """One move of the alias ``champion``.

    Attributes:
        number: of the entry, from 1.
        kind: `PROMOTED`, `ROLLED_BACK`, or `FOUND` where the alias was moved by other means.
        who: user and machine; of a found move, who found it.
        when: UTC, ISO 8601.
        before: the version that had the alias, None where none had.
        after: the version that has it then, None where it was taken away.
        verdict: what the gate said.
        why: in the words of who moved it.
        done: whether the alias was moved.
    """

    number: int
    kind: str
    who: str
    when: str
    before: int | None
    after: int | None
    verdict: str
    why: str
    done: bool


class History:
    """The log of one registered model."""

    def __init__(self, store: Store, name: str, run_id: str) -> None:
        """Open the log in a run; use `find` or `start`."""
        self._store = store
        self._name = name
        self._run_id = run_id

    @classmethod
    @explain_refusals()
    def find(cls, store: Store, name: str) -> "History | None":
        """Open the log, None where the alias never moved. Writes nothing.

        Raises:
            PromotionError: its run was deleted.
        """
        experiment = store.client.get_experiment_by_name(_experiment(name))
        run_id = _oldest_run(store, experiment.experiment_id) if experiment else None
        return cls(store, name, run_id) if run_id else None

    @classmethod
    @explain_refusals()
    def start(cls, store: Store, name: str) -> "History":
        """Open the log, or begin it."""
        return cls.find(store, name) or cls(store, name, _begin(store, name))

    @explain_refusals()
    def moves(self) -> list[Move]:
        """Return all moves, the first one first."""
        told = self._store.client.get_run(self._run_id).data.params
        entries = sorted(key for key in told if _ENTRY.fullmatch(key))
        known = Move.__dataclass_fields__.keys() - {"number", "done"}
        return [
            Move(
                number=int(key),
                done=f"{key}.done" in told,
                **{field: value for field, value in json.loads(told[key]).items() if field in known},
            )
            for key in entries
        ]

    def settle(self) -> list[Move]:
        """Bring log and alias together, and return all moves.

        A move that was cut short is finished; an alias that was moved by other means, as in the MLflow UI, is entered
        as found.
        """
        moves = self.moves()
        if moves and not moves[-1].done:
            self._carry_out(moves[-1])
            moves = self.moves()
        expected = moves[-1].after if moves else None
        current = aliases(self._store, self._name).get(CHAMPION)
        if current != expected:
            self.move(
                moves,
                FOUND,
                expected,
                current,
                verdict="not asked",
                why="the alias was moved by other means",
            )
            moves = self.moves()
        return moves

    @explain_refusals()
    def move(
        self, seen: list[Move], kind: str, before: int | None, after: int | None, *, verdict: str, why: str
    ) -> Move:
        """Enter a move and carry it out.

        Args:
            seen: all moves that the decision was made on.
            kind: `PROMOTED`, `ROLLED_BACK` or `FOUND`.
            before: the champion until now.
            after: the champion from now on.
            verdict: what the gate said.
            why: in the words of who asks.

        Raises:
            PromotionError: somebody else moved the alias since then, or ``why`` is too long.
        """
        if len(why) > LONGEST_REASON:
            raise PromotionError(f"the reason has {len(why)} characters, expected at most {LONGEST_REASON}.")
        move = Move(
            number=len(seen) + 1,
            kind=kind,
            who=f"{getpass.getuser()}@{socket.gethostname()}",
            when=datetime.now(UTC).isoformat(timespec="seconds"),
            before=before,
            after=after,
            verdict=verdict,
            why=why,
            done=False,
        )
        self._enter(move)
        self._carry_out(move)
        return move

    def _enter(self, move: Move) -> None:
        entry = {key: value for key, value in asdict(move).items() if key not in ("number", "done")}
        from mlflow import MlflowException  # after `tracking`, which keeps MLflow quiet

        entry["token"] = uuid.uuid4().hex  # no two writers write the same
        try:
            self._store.client.log_param(self._run_id, _key(move), json.dumps(entry))
        except MlflowException:
            written = self._store.client.get_run(self._run_id).data.params.get(_key(move))
            if written is None:
                raise
            other = json.loads(written)
            if other["token"] != entry["token"]:
                raise PromotionError(
                    f"{other['who']} has {other['kind']} version {other['after']} of {self._name} in the meantime, so "
                    "that this decision was made on an old state. Look at it again and repeat the command."
                ) from None

    def _carry_out(self, move: Move) -> None:
        """Move the alias; where a later entry overtook this one, the later one counts."""
        self._set_alias(move)
        self._store.client.log_param(self._run_id, f"{_key(move)}.done", "true")
        latest = self.moves()[-1]
        if latest.number > move.number:
            self._carry_out(latest)

    def _set_alias(self, move: Move) -> None:
        if move.after is None:
            if CHAMPION in aliases(self._store, self._name):
                self._store.client.delete_registered_model_alias(self._name, CHAMPION)
        else:
            self._store.client.set_registered_model_alias(self._name, CHAMPION, str(move.after))


def _key(move: Move) -> str:
    return f"{move.number:06d}"


def _experiment(name: str) -> str:
    return f"{name} champions"


def _oldest_run(store: Store, experiment_id: str) -> str | None:
    from mlflow.entities import ViewType

    found = store.client.search_runs(
        [experiment_id], run_view_type=ViewType.ALL, order_by=["attributes.start_time ASC"], max_results=1
    )
    if found and found[0].info.lifecycle_stage != "active":
        raise PromotionError(
            f"the run {found[0].info.run_id} with the history of champions was deleted. "
            f"Bring it back (`mlflow runs restore --run-id {found[0].info.run_id}`), and repeat the command."
        )
    return str(found[0].info.run_id) if found else None


def _begin(store: Store, name: str) -> str:
    """Make experiment and run; MLflow lets one process make the experiment, and the others wait for its run."""
    from mlflow import MlflowException

    try:
        experiment_id = store.client.create_experiment(_experiment(name))
    except MlflowException:
        experiment = store.client.get_experiment_by_name(_experiment(name))
        if experiment is None:
            raise
        experiment_id = experiment.experiment_id
        deadline = time.monotonic() + _SECONDS_FOR_ANOTHER_TO_BEGIN
        while time.monotonic() < deadline:
            if run_id := _oldest_run(store, experiment_id):
                return run_id
            time.sleep(0.2)
    run = store.client.create_run(experiment_id, run_name=f"champions of {name}")
    store.client.set_tag(
        run.info.run_id, "mlflow.note.content", "Every move of the alias champion is a parameter of this run."
    )
    return str(run.info.run_id)
