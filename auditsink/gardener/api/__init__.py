"""What users and operators write: the two groups of AuditConfig and the configuration of the controller."""
