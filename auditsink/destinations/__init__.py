"""Where events go: one file each, one small protocol (`base`); a destination is imported only when configured."""
