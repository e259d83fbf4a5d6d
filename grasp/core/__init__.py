"""The GRASP core: rules, caches and sessions of one instance around a substrate (RFC 8990 §2.1)."""

from grasp.core.core import Core

__all__ = ["Core"]
