# MuJoCo 3.3 is compiled and has no annotations: to the type checker everything in it is Any.
from typing import Any

def __getattr__(name: str) -> Any: ...
