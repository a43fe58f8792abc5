"""The wire: who may post, how much at once, and the way from a request to the spool."""
