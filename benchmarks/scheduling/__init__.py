"""The real scheduling machine among pretended workers: in virtual time, and by the clock."""
