"""`auditsink doctor`: looks at a running sink, its machine and the apiserver that posts to it.

Each module turns what somebody else has read into findings, and knows no socket and no file: `sink` what the admin
port says, and the disk under the spool; `apiserver` its flags; `kubeconfig` its webhook's file by itself, `comparison`
beside the sink's configuration. The command reads and prints.
"""

from auditsink.doctor.finding import HEADINGS, Finding, Urgency, in_order

__all__ = ["HEADINGS", "Finding", "Urgency", "in_order"]
