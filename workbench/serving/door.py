"""Who may come in: this machine alone, or whoever has the token. Heavy imports and sockets are elsewhere."""

import hmac
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from workbench.errors import UserError

SHORTEST_TOKEN = 16
MAKE_ONE = 'python -c "import secrets; print(secrets.token_urlsafe())"'


@dataclass(frozen=True)
class Door:
    """An address to listen at, the token that opens it, and the keys that are read in place of each client's own.

    Raises UserError where others than this machine could come in without a token.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = field(default=None, repr=False)
    image_key: str | None = None
    prompt_key: str | None = None
    state_key: str | None = None

    def __post_init__(self) -> None:
        if self.token is not None and len(self.token) < SHORTEST_TOKEN:
            raise UserError(f"The token has {len(self.token)} characters, it needs {SHORTEST_TOKEN}: {MAKE_ONE}")
        if self.token is None and not is_loopback(self.host):
            raise UserError(
                f"At {self.host} other machines can reach the policy: give a --token (make one with {MAKE_ONE}), or "
                "serve at 127.0.0.1."
            )

    def opens(self, path: str, authorizations: Sequence[str]) -> bool:
        """Whether a request has the token: `?token=…`, or a header `Authorization: Bearer …` or `Api-Key …`.

        Compared in constant time. Raises ValueError for a path that cannot be read.
        """
        if self.token is None:
            return True
        offered = parse_qs(urlsplit(path).query, max_num_fields=8).get("token", [])
        for header in authorizations:
            scheme, _, rest = header.partition(" ")
            if scheme.lower() in ("bearer", "api-key"):
                offered.append(rest.strip())
        wanted = self.token.encode()
        return any([hmac.compare_digest(one.encode("utf-8", "surrogateescape"), wanted) for one in offered])


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to `host`; a name other than localhost may lead anywhere."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
