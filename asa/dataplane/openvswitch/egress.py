"""What leads packets to their queues where the bridge's datapath is in user space, and ``set_queue`` does nothing.

That datapath writes frames to the port's interface as any program does, so the kernel's egress hook sees them: a table
``netdev asa_ovs`` sets the class of ovs-vswitchd's own HTB. Markings are OpenFlow's affair. Numbers of its rules are
those of classes (:func:`~asa.dataplane.openvswitch.kernel.class_of`).
"""

from __future__ import annotations

from typing import Final

from asa.dataplane.nft.ruleset import Table
from asa.dataplane.openvswitch import kernel

TABLE: Final = Table(name="asa_ovs", major=kernel.MAJOR, default=kernel.DEFAULT)
