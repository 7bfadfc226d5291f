"""No teacher: the board's objective alone, the baseline of every gain (Camarena et al., 2024, Table 2)."""

from __future__ import annotations

from kdbench.api import Method, hookimpl


class Scratch(Method):
    """The board's objective and nothing else: what every other method is compared with."""

    name = "scratch"
    source = "Camarena et al., J. Imaging 2024, 10(4), 85, Table 2"


@hookimpl
def kdbench_methods() -> list[type[Method]]:
    return [Scratch]
