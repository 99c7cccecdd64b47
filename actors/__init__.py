"""The processes of hqtrio: server, worker and the worker's children. Importing loads nothing."""
