"""A domain of agents on this host: a network of namespaces, real agents, a day of demand, a crash, an audit."""
