"""The simulators that play in a Python of their own: what each needs, and where it is found."""

import os
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import UserError

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Simulator:
    """One world's adapter, and the sentence that says what to install.

    `rows` is how many episodes one process can hold: more are played by more processes, side by side. `patience` is
    how many seconds one request may take; the first, which loads the simulator, may take ten times that.
    """

    world: str
    adapter: Path
    needs: str
    rows: int
    patience: float = 120.0

    @property
    def python_variable(self) -> str:
        return f"WORKBENCH_PYTHON_{self.world.upper()}"

    @property
    def server_variable(self) -> str:
        return f"WORKBENCH_SERVER_{self.world.upper()}"

    def python(self) -> str:
        """The Python that has the simulator. Raises UserError, with what to install, where none is named."""
        if found := os.environ.get(self.python_variable):
            return found
        raise UserError(
            f"{self.world} plays in a Python of its own, and none is named. Make an environment with {self.needs} "
            f"(docs/simulators.md), then set {self.python_variable} to its Python, such as "
            f"/opt/{self.world}/bin/python; or set {self.server_variable} to the address of a server that runs."
        )

    def servers(self) -> tuple[tuple[str, int], ...]:
        """Hosts and ports of servers that run already; none where no one named any. Raises UserError for others."""
        named = os.environ.get(self.server_variable, "")
        return tuple(self._address(one.strip()) for one in named.split(",")) if named else ()

    def _address(self, named: str) -> tuple[str, int]:
        host, _, port = named.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
            raise UserError(f"{self.server_variable} names {named!r}; expected a host and a port, as 127.0.0.1:4000.")
        return host, int(port)


def _simulator(world: str, needs: str, rows: int) -> Simulator:
    return Simulator(world, HERE / f"sim_{world}.py", needs, rows)


PLUS = (
    "github.com/sylvestf/LIBERO-plus at 4976dc3 with its extra_requirements.txt and the packages of docs/libero.md, "
    "libmagickwand, and the assets.zip of huggingface.co/datasets/Sylvest/LIBERO-plus unpacked in its libero/libero"
)
SIMULATORS = {
    one.world: one
    for one in (
        _simulator("calvin", "Python 3.8, calvin_env and calvin_agent as github.com/mees/calvin installs them", rows=1),
        _simulator("simpler", "Python 3.10 or 3.11, SimplerEnv and its ManiSkill2_real2sim with their data", rows=4),
        _simulator("maniskill", "Python 3.10 or newer and mani_skill 3 (pip install mani_skill)", rows=4),
        _simulator("libero_plus", f"Python 3.8 to 3.11 and {PLUS}", rows=4),
    )
}
