"""Tasks, under the name of HyperQueue's package."""
