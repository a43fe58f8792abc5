"""The clusters that may post: who they are, what is theirs, and how that changes while the sink runs.

    config.Cluster (a member of the list, a file of the `directory`) --> ClusterSet --registry--> whoever asks

A `ClusterSet` is one moment's truth and never changes: who a credential stands for, what is reserved, where events go.
The `registry` looks at the files every few seconds and puts a new one in force as a whole. The receive port asks it
who may post, the spool what is reserved, the forwarders what goes where.
"""
