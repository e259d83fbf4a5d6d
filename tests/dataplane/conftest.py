"""A node between two hosts, as the switch of their Ethernet, with its data plane within reach."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import Lab

from .between import Between, require


@pytest.fixture
def bridged() -> Iterator[Between]:
    """10.0.0.1 and fd00::1 on the left, 10.0.0.2 and fd00::2 on the right, of an Ethernet whose switch is the node."""
    require("tc", "ip")
    with Lab() as lab:
        left, node, right = (lab.host(each) for each in ("left", "node", "right"))
        node.sysctl("net.ipv6.conf.all.disable_ipv6", "1")
        node.sysctl("net.ipv6.conf.default.disable_ipv6", "1")
        for number, host in enumerate((left, right), 1):
            lab._cable(node, host)
            host.address(f"10.0.0.{number}/24", "eth0")
            host.ip(f"address add fd00::{number}/64 dev eth0 nodad")
        node.ip("link add br0 type bridge mcast_snooping 0", "link set br0 up")
        node.ip("link set eth0 master br0", "link set eth1 master br0")
        left.link_local("eth0")
        right.link_local("eth0")
        with node.entered():
            yield Between(lab, left, node, right)


@pytest.fixture
def routed() -> Iterator[Between]:
    """10.0.1.1 and fd00:1::1 on the left, 10.0.2.1 and fd00:2::1 on the right, of a router."""
    require("tc", "ip")
    with Lab() as lab:
        left, node, right = (lab.host(each) for each in ("left", "node", "right"))
        node.forwarding(True)
        for number, host in enumerate((left, right), 1):
            lab.link(node, host)
            for prefix, length in (("10.0.{}.", 24), ("fd00:{}::", 64)):
                near, far = (f"{prefix.format(number)}{each}" for each in (1, 2))
                nodad = " nodad" if ":" in near else ""
                host.ip(f"address add {near}/{length} dev eth0{nodad}")
                node.ip(f"address add {far}/{length} dev eth{number - 1}{nodad}")
                host.route("default", far)
        with node.entered():
            yield Between(lab, left, node, right)
