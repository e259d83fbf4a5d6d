"""The process that has the privileges, and what an agent without them says to it."""
