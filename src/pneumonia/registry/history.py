"""History of the champion: an append-only log of alias changes, kept in the MLflow store.

Each change is a parameter of one run. The run belongs to no model version, so the log outlives deleted versions.
MLflow never overwrites a parameter of a run and accepts a new one from one writer only. Therefore entries cannot be
edited, and when two processes write the same entry, one of them is refused; writing the entry serves as the lock.

An entry is written before the alias is set. A second parameter records that the alias was set. An entry without it is
an interrupted change, which `History.settle` completes.
"""

import getpass
import json
import re
import socket
import time
import uuid
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime

from pneumonia.core.errors import PromotionError
from pneumonia.registry.tracking import Store, explain_refusals
from pneumonia.registry.versions import CHAMPION, aliases

PROMOTED, ROLLED_BACK, EXTERNAL = "promoted", "rolled back", "set outside of this project"
MAXIMUM_REASON_LENGTH = 2000
"""Characters. MLflow accepts 6,000 for a whole entry."""

_ENTRY = re.compile(r"\d{6}")
_EARLIER_KEYS = {"who": "actor", "when": "time", "before": "previous", "after": "current", "why": "reason"}
"""Keys of entries written by version 0.1.0; entries cannot be rewritten, so these are still read."""
_SECONDS_UNTIL_ANOTHER_PROCESS_CREATES_RUN = 20


@dataclass(frozen=True)
class AliasChange:
    """One change of the alias ``champion``.

    Attributes:
        number: position in the log, from 1.
        kind: `PROMOTED`, `ROLLED_BACK`, or `EXTERNAL` if the alias was set by other means, as in the MLflow UI.
        actor: ``user@host`` of the process that wrote the entry.
        time: of the entry; UTC, ISO 8601.
        previous: version that had the alias before, None if there was none.
        current: version that has the alias after the change, None if the alias was removed.
        verdict: outcome of the gate (`gate.PASSED` and others), or "not asked".
        reason: given by the user; may be empty.
        applied: whether the alias was set.
    """

    number: int
    kind: str
    actor: str
    time: str
    previous: int | None
    current: int | None
    verdict: str
    reason: str
    applied: bool


class History:
    """The log of one registered model."""

    def __init__(self, store: Store, name: str, run_id: str) -> None:
        """Open the log kept in a run. Use `find` or `start`."""
        self._store = store
        self._name = name
        self._run_id = run_id

    @classmethod
    @explain_refusals()
    def find(cls, store: Store, name: str) -> "History | None":
        """Open the log of a registered model, or return None if it has none. Writes nothing.

        Raises:
            PromotionError: the run that holds the log was deleted.
        """
        experiment = store.client.get_experiment_by_name(_experiment(name))
        run_id = _oldest_run(store, experiment.experiment_id) if experiment else None
        return cls(store, name, run_id) if run_id else None

    @classmethod
    @explain_refusals()
    def start(cls, store: Store, name: str) -> "History":
        """Open the log of a registered model; create it if there is none.

        Raises:
            PromotionError: the run that holds the log was deleted.
        """
        return cls.find(store, name) or cls(store, name, _create_run(store, name))

    @explain_refusals()
    def changes(self) -> list[AliasChange]:
        """Return all changes, oldest first."""
        params = self._store.client.get_run(self._run_id).data.params
        entries = sorted(key for key in params if _ENTRY.fullmatch(key))
        return [_decode(int(key), params[key], f"{key}.done" in params) for key in entries]

    def settle(self) -> list[AliasChange]:
        """Make the log and the alias agree, and return all changes, oldest first.

        An interrupted change is completed. An alias that was set by other means is logged as `EXTERNAL`.
        """
        changes = self.changes()
        if changes and not changes[-1].applied:
            self._apply(changes[-1])
            changes = self.changes()
        expected = changes[-1].current if changes else None
        actual = aliases(self._store, self._name).get(CHAMPION)
        if actual != expected:
            self.change(
                changes, EXTERNAL, expected, actual, verdict="not asked", reason="the alias was set by other means"
            )
            changes = self.changes()
        return changes

    @explain_refusals()
    def change(
        self,
        basis: list[AliasChange],
        kind: str,
        previous: int | None,
        current: int | None,
        *,
        verdict: str,
        reason: str,
    ) -> AliasChange:
        """Log a change of the alias and set the alias.

        Args:
            basis: all changes that the decision was based on, as `settle` returns them.
            kind: `PROMOTED`, `ROLLED_BACK` or `EXTERNAL`.
            previous: the champion until now.
            current: the champion from now on.
            verdict: outcome of the gate.
            reason: given by the user, at most `MAXIMUM_REASON_LENGTH` characters.

        Raises:
            PromotionError: another process changed the alias since ``basis`` was read, or ``reason`` is too long.
        """
        if len(reason) > MAXIMUM_REASON_LENGTH:
            raise PromotionError(
                f"the reason has {len(reason)} characters, expected at most {MAXIMUM_REASON_LENGTH}. Shorten it."
            )
        change = AliasChange(
            number=len(basis) + 1,
            kind=kind,
            actor=f"{getpass.getuser()}@{socket.gethostname()}",
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            previous=previous,
            current=current,
            verdict=verdict,
            reason=reason,
            applied=False,
        )
        self._write(change)
        self._apply(change)
        return change

    def _write(self, change: AliasChange) -> None:
        from mlflow import MlflowException  # after `tracking`, which configures MLflow's logging

        entry = {key: value for key, value in asdict(change).items() if key not in ("number", "applied")}
        entry["token"] = uuid.uuid4().hex  # makes the entries of two writers differ
        try:
            self._store.client.log_param(self._run_id, _key(change), json.dumps(entry))
        except MlflowException:
            written = self._store.client.get_run(self._run_id).data.params.get(_key(change))
            if written is None:
                raise
            if json.loads(written)["token"] != entry["token"]:
                other = _decode(change.number, written, applied=False)
                raise PromotionError(
                    f"version {other.current} of {self._name} was {other.kind} by {other.actor} in the meantime, so "
                    "this decision is based on an outdated state. Run `pneumonia history`, then repeat the command."
                ) from None

    def _apply(self, change: AliasChange) -> None:
        """Set the alias. If a later entry was written meanwhile, apply that one too: the latest entry counts."""
        self._set_alias(change)
        self._store.client.log_param(self._run_id, f"{_key(change)}.done", "true")
        latest = self.changes()[-1]
        if latest.number > change.number:
            self._apply(latest)

    def _set_alias(self, change: AliasChange) -> None:
        if change.current is None:
            if CHAMPION in aliases(self._store, self._name):
                self._store.client.delete_registered_model_alias(self._name, CHAMPION)
        else:
            self._store.client.set_registered_model_alias(self._name, CHAMPION, str(change.current))


def _key(change: AliasChange) -> str:
    return f"{change.number:06d}"


def _decode(number: int, entry: str, applied: bool) -> AliasChange:
    values = {_EARLIER_KEYS.get(key, key): value for key, value in json.loads(entry).items()}
    known = {field.name for field in fields(AliasChange)} - {"number", "applied"}
    return AliasChange(number=number, applied=applied, **{key: values[key] for key in known})


def _experiment(name: str) -> str:
    return f"{name} champions"


def _oldest_run(store: Store, experiment_id: str) -> str | None:
    from mlflow.entities import ViewType

    runs = store.client.search_runs(
        [experiment_id], run_view_type=ViewType.ALL, order_by=["attributes.start_time ASC"], max_results=1
    )
    if runs and runs[0].info.lifecycle_stage != "active":
        raise PromotionError(
            f"the run {runs[0].info.run_id}, which holds the history of champions, was deleted. "
            f"Restore it (`mlflow runs restore --run-id {runs[0].info.run_id}`), then repeat the command."
        )
    return str(runs[0].info.run_id) if runs else None


def _create_run(store: Store, name: str) -> str:
    """Create experiment and run. MLflow lets one process create the experiment; the others wait for its run."""
    from mlflow import MlflowException

    try:
        experiment_id = store.client.create_experiment(_experiment(name))
    except MlflowException:
        experiment = store.client.get_experiment_by_name(_experiment(name))
        if experiment is None:
            raise
        experiment_id = experiment.experiment_id
        deadline = time.monotonic() + _SECONDS_UNTIL_ANOTHER_PROCESS_CREATES_RUN
        while time.monotonic() < deadline:
            if run_id := _oldest_run(store, experiment_id):
                return run_id
            time.sleep(0.2)
    run = store.client.create_run(experiment_id, run_name=f"champions of {name}")
    store.client.set_tag(
        run.info.run_id, "mlflow.note.content", "Each change of the alias champion is a parameter of this run."
    )
    return str(run.info.run_id)
