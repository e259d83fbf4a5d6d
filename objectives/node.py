"""Who an agent is."""

from __future__ import annotations

from dataclasses import dataclass

from objectives.fields import InvalidValue, check_name, shown


@dataclass(frozen=True, slots=True, order=True)
class NodeId:
    """An agent: its configured name and its instance, drawn once and kept with its state.

    Two agents with one name, or an agent that lost its state, are told apart by the instance: nobody may answer
    for the transactions of another. Raises :class:`InvalidValue`.
    """

    name: str
    instance: str
    """16 hexadecimal digits."""

    def __post_init__(self) -> None:
        check_name(self.name, "a node's name")
        if type(self.instance) is not str or len(self.instance) != 16 or set(self.instance) - set("0123456789abcdef"):
            raise InvalidValue(f"a node's instance must be 16 hexadecimal digits, not {shown(self.instance)}")

    def __str__(self) -> str:
        return f"{self.name}#{self.instance}"


def node_from_text(value: object, where: str = "node") -> NodeId:
    """Raises :class:`InvalidValue`."""
    if type(value) is not str:
        raise InvalidValue(f"{where} must be NAME#INSTANCE, not {shown(value)}")
    name, _, instance = value.partition("#")
    try:
        return NodeId(name, instance)
    except InvalidValue as error:
        raise InvalidValue(f"{where}: {error}") from None
