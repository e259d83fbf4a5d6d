"""Packets told apart by u32 filters, and the process that ends what a dead agent left."""
