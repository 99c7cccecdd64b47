"""The same workloads on hqtrio and on its peers, in turn, side by side."""
