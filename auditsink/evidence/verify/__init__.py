"""Verifies files, exports and spools against signed checkpoints, anywhere and later."""
