"""The actor kit: mailboxes, lifetimes, the loop around a machine, the fence around an edge."""
