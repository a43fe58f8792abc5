"""The Gardener extension: it puts a sink beside every control plane of a seed, and sends the audit trail to it.

    Extension, Cluster or Garden --api, landscape--> what is wanted --sink, render--> objects --control--> the seed
    kube-apiserver's Deployment --apiserver--> the same with audit flags

Nothing of a sink imports this room. `api`, `sink`, `render`, `apiserver` and `certificates` are pure: the same input
gives the same bytes. `control` decides with tables and does what they say over `kube`, the Kubernetes API.
"""
