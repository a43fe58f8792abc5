"""Shipped test doubles: a disk that forgets, a clock that jumps, an apiserver by script, a HEC that misbehaves."""
