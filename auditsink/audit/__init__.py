"""What an EventList and an audit event are, as bytes. Pure: no I/O, no configuration, no clock."""
