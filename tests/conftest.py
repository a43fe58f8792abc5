"""What every test may use. This file also puts `tests/` on the import path, for `import corpus`."""

from hypothesis import settings

# No verdict hangs on how fast the machine is.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
