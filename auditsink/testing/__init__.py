"""Shipped test doubles: a disk that forgets, a clock that jumps, an apiserver by script, a HEC that misbehaves.

And an HTTP collector, other means of taking apart what the sink puts together, and `make demo` around them.
"""
