"""From an AuditConfig to a sink: its configuration file and what has to be mounted for it. Pure."""
