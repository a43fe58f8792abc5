"""Checks what users write before it is stored: Shoots with this extension, and the Secrets that they refer to."""
