"""Shipped test doubles: a disk that forgets, a clock that jumps, an apiserver by script, a HEC that misbehaves.

And an HTTP collector, other means of taking apart what the sink puts together, and `make demo` around them. The
servers need the extra `testing`: their HTTP is a library's, so that our client meets one that we did not write.
"""
