"""The fidelity benchmark (`make bench-engine`): the load engine beside the tools that are known for it."""
