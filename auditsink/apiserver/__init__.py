"""The other end of the wire: posts recorded audit batches as a kube-apiserver would.

`sources` finds bodies in files, `patience` is client-go's retry schedule, `webhook` posts one body, `deliver` puts
the last two together for one batch, and `send` does it for many with a rate and several connections.
"""
