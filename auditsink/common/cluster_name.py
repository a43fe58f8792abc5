"""What a cluster may be called."""

import re

CLUSTER = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?\Z")
"""A name that is safe as a directory, a label and a topic: what DNS allows, in lower case."""
CLUSTER_RULE = "a cluster's name is 1 to 63 of a-z, 0-9, - and ., with a letter or digit first and last"
