"""Work on the machines of a Dask cluster: rows of the matrix, boots, commits of a bisect.

Nothing is shared between the machines but the checkout, which each has for itself.
docs/cluster.md says how a cluster is set up.
"""
