"""Open vSwitch: queues over OVSDB, flows over OpenFlow."""

from asa.dataplane.openvswitch.backend import OpenVSwitch

__all__ = ["OpenVSwitch"]
