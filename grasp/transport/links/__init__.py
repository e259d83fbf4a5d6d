"""Neighbours, found by DULL GRASP (RFC 8990 §2.5.2), and one TLS connection to each of them.

Over these links M_DISCOVERY, M_FLOOD and M_RESPONSE go hop by hop; nothing but the announcements goes by multicast.
"""

from grasp.transport.links.links import Links

__all__ = ["Links"]
