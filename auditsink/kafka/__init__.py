"""The client of Apache Kafka, for the destination and for the spool: how to get in, who produces, what errors mean."""
