"""Runs side by side: what was measured of each encoder, and whether it ranks them as success does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from workbench.errors import UserError, unknown
from workbench.plan import Inject
from workbench.player import trained_encoder, training_plan
from workbench.probes.correlation import ENOUGH, Correlation, rank_correlation
from workbench.probes.material import Material, gather, probed_data
from workbench.probes.retention import Probed, Retention, base_of, open_base, probe_encoder, retention
from workbench.probes.success import Success, frozen_success, own_success
from workbench.recipes import Data
from workbench.record import Record, open_record
from workbench.screens.console import Tell
from workbench.spec import digest
from workbench.weights import checked_weights

Kind = Literal["before", "inject", "finetune"]


@dataclass(frozen=True)
class Row:
    """One encoder; `values` by column. Before: CKA and cosine are those with itself."""

    name: str
    kind: Kind
    values: Mapping[str, float]
    success: Success | None


@dataclass(frozen=True, eq=False)
class Sheet:
    """`rows`: encoders before, then runs in the order asked. `unranked` says why there are no `correlations`."""

    material: Material
    retained: Mapping[str, Retention]
    rows: Sequence[Row]
    correlations: Mapping[str, Correlation]
    unranked: str | None


def find_runs(root: Path, ids: Sequence[str]) -> list[Record]:
    """Finished runs that have weights, each once. Raises UserError, naming the nearest, for what is none."""
    known = [path.parent.name for path in root.glob("*/result.json")]
    records = []
    for id in dict.fromkeys(ids):
        if known and id not in known:
            raise unknown("finished run", id, known)
        record = open_record(root, id)
        training_plan(record)
        checked_weights(record.folder)
        records.append(record)
    return records


def common_data(records: Sequence[Record], episodes: int) -> Data:
    """What all of the runs are probed on. Raises UserError where their tasks differ: figures would not compare."""
    found = {record.id: probed_data(training_plan(record).data, episodes) for record in records}
    first, *others = found
    for other in others:
        if found[other] != found[first]:
            raise UserError(
                f"The runs {first} and {other} were trained on other tasks or datasets, and their figures would not "
                "compare: probe them apart."
            )
    return found[first]


def probe_runs(records: Sequence[Record], root: Path, data: Data, episodes: int, progress: Tell) -> Sheet:
    """Collect the data where they lack, probe every encoder and set it beside the one that it was."""
    specs = {record.id: base_of(training_plan(record).spec) for record in records}
    bases = {digest(spec): open_base(spec, root) for spec in {digest(one): one for one in specs.values()}.values()}
    material = gather(root, data, episodes, progress)  # after the models: what is not to be had is said at once
    before = {key: probe_encoder(base.encoder, base.judge, material) for key, base in bases.items()}
    retained: dict[str, Retention] = {}
    for done, record in enumerate(records):
        progress(done, len(records))
        key = digest(specs[record.id])
        retained[record.id] = retention(bases[key], before[key], trained_encoder(record, root), material)
    progress(len(records), len(records))
    rows = _rows(records, retained, root)
    reason = unranked(rows)
    return Sheet(material, retained, rows, {} if reason else _correlations(rows), reason)


def _rows(records: Sequence[Record], retained: Mapping[str, Retention], root: Path) -> list[Row]:
    injected = [record.id for record in records if isinstance(record.plan, Inject)]
    frozen = frozen_success(root, ["pretrained", *(f"run:{id}" for id in injected)]) if injected else {}
    before: dict[str, Row] = {}
    after: list[Row] = []
    for record in records:
        kept, plan = retained[record.id], training_plan(record)
        name = plan.spec.backbone if plan.spec.vision.module == "native" else plan.spec.vision.module
        success = frozen.get(f"run:{record.id}") if record.id in injected else own_success(record)
        before[name] = Row(name, "before", _values(kept, kept.before), frozen.get("pretrained"))
        after.append(Row(record.id, plan.kind, _values(kept, kept.after), success))
    return [*before.values(), *after]


def _values(kept: Retention, one: Probed) -> dict[str, float]:
    """By column; `one` is the encoder before or after."""
    read, own = kept.layers[-1], one is kept.before
    values = {"CKA": 1.0 if own else kept.cka, "cosine": 1.0 if own else read.cosine}
    values |= {"rank": read.rank_before if own else read.rank_after}
    values |= {name: reading.r2 for name, reading in one.readings.items()}
    return values if one.pointing is None else values | {"pointing": one.pointing}


def unranked(rows: Sequence[Row]) -> str | None:
    """Why these runs are not set beside success; None where they can be."""
    runs = [row for row in rows if row.kind != "before"]
    played = [row for row in runs if row.success is not None]
    if len({row.kind for row in played}) > 1:
        return "success of injections is that of policies that keep the encoder frozen: rank them apart from policies"
    if len({row.success.manifest for row in played if row.success}) > 1:
        return "these policies played different episodes"
    if len(played) < ENOUGH:
        return f"{len(played)} of {len(runs)} runs have success; a rank correlation takes at least {ENOUGH}"
    return None


def _correlations(rows: Sequence[Row]) -> dict[str, Correlation]:
    played = [(row, row.success.value) for row in rows if row.kind != "before" and row.success]
    found: dict[str, Correlation] = {}
    for column in played[0][0].values:
        pairs = [(row.values[column], success) for row, success in played if column in row.values]
        measured, success = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        if correlation := rank_correlation(measured, success, np.random.default_rng(19)):
            found[column] = correlation
    return found
