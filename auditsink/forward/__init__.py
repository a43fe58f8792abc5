"""From the spool to the destinations: reader, batch, attempt, outcome; backoff; dead letters."""
