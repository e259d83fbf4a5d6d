"""The northbound API: HTTP and JSON over a Unix socket, and over TCP with TLS.

``asa.northbound.server`` is the agent's side, ``asa.northbound.client`` the command line's. This package imports
neither, so that a command starts without loading the server.
"""
