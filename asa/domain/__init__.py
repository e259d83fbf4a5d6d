"""The identity of agents in a domain: a CA for operators without one, certificates of a CA from elsewhere, joining.

Everything here runs in the command ``asa domain`` (``docs/identity.md``); a running agent only reads the directory of
its identity, which :mod:`grasp.security` does.
"""
