"""Neighbour links: the rules alone, and real TLS between namespaces."""
