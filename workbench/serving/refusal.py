"""What a client is answered whose message cannot be."""


class Refused(Exception):
    """One sentence for the client: which key, what was expected there, what was found. The server lives on."""


def shown(value: object, width: int = 60) -> str:
    """Something a client chose, fit for a terminal: control characters spelled out, cut where it is long."""
    whole = repr(value[:width] if isinstance(value, str | bytes) else value)
    return whole if len(whole) <= width else f"{whole[: width - 1]}…"
