"""Packets told apart by nftables, one map element for each match."""
