"""Random sequences of all that consumers and operators do at several agents, against a naive model."""
