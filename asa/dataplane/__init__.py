"""The data plane: what packets of reservations get on this node, wished for as a whole and read back. No I/O here.

From the ground up: :mod:`~asa.dataplane.match` (which packets), :mod:`~asa.dataplane.plan` (what they get),
:mod:`~asa.dataplane.backend` (who sees to it), and the back ends.
"""
