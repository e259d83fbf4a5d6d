"""What the bandwidth agents say to each other: the values of their GRASP objectives, and their validation.

``resource`` and ``pact`` are negotiated, ``params`` and ``revoked`` flooded and synchronized, ``agent`` and ``reach``
flooded, ``holdings`` synchronized.
"""

from objectives.block import Block, Window
from objectives.fields import InvalidValue
from objectives.node import NodeId, node_from_text

__all__ = ["Block", "InvalidValue", "NodeId", "Window", "node_from_text"]
