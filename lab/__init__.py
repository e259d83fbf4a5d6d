"""Namespaced hosts for tests, benchmarks and the demo; not part of the distribution."""

from .capture import Capture, Datagram, Frame
from .hosts import Host, Lab, LabError, unavailable_reason

__all__ = ["Capture", "Datagram", "Frame", "Host", "Lab", "LabError", "unavailable_reason"]
