"""What is done to a spool's files without being the sink that writes them: inspect, export, import."""
