"""When the low-rank updates of one run can be trained on in another. No torch: a study is checked before it runs."""

from workbench.spec import Lora, SlotName, Tune


def kept_misfit(name: SlotName, tune: Tune, source: Tune, of: str) -> str | None:
    """Why slot `name` cannot keep the adapters that `source` gave it in `of`; None where it can. Dropout may differ."""
    pair = [tune.model_copy(update={"dropout": 0.0}) if isinstance(tune, Lora) else tune for tune in (tune, source)]
    if pair[0] == pair[1] and isinstance(source, Lora):
        return None
    return (
        f"{name}.adapters is 'kept', but its tune is not that of {of} ({_told(tune)} here, {_told(source)} there): "
        "give both the same rank, alpha, targets and dora, or leave adapters out, which merges them"
    )


def _told(tune: Tune) -> str:
    fields = tune.model_dump(mode="json", exclude={"kind", "dropout"})
    return " ".join([tune.kind, *(f"{name} {value}" for name, value in fields.items())])
