"""The other end of the wire: posts audit batches as a kube-apiserver would.

`retry_schedule` is client-go's, `webhook` posts one body, `deliver` puts the two together for one batch, and `send`
does it for many with a rate and several connections. `hopeless` says when a person should not wait for that.
"""
