"""What every test may use. This file also puts `tests/` on the import path, for `import corpus`."""
