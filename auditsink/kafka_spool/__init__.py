"""A topic of Apache Kafka in the place of the rings on a disk: any number of receivers, any number of forwarders.

**Record.** One for each accepted request, or for some small ones of one cluster that came together. Its key is the
cluster's name, so all of a cluster lies in the partition that the key's murmur2 hash names, in order. Its value is a
frame of the spool (see `auditsink.spool`), with the sequence 0: nobody numbers events when they are taken, because
receivers know nothing of each other. Headers: `auditsink` is the version (`1`); `seal`, only where the payload is
encrypted, is `segment id 8 | created u64 | key check 8 | key name`, of which the cipher is made as for a segment.

**Groups.** Each destination is the consumer group `TOPIC.DESTINATION`. Who owns a partition in it delivers what lies
there, cluster by cluster; a ring of `forward` is one cluster in one partition.

**Place.** What a group commits: the offset of the first record that is not wholly done, and beside it, as metadata, how
far each cluster is beyond that offset, and how its events ended (`place`). So a cluster that waits holds up the
deletion of records and not the delivery of others, the accounts are as durable as the place, and both move together.
The brokers refuse the commit of a forwarder that lost the partition, so nobody's place goes back.

**Sequences** count a cluster's events for one destination, as its accounts do. They are not the same for another one.

**Dead letters** lie in a topic of their own, compacted, under the key `DESTINATION/ID` (see `dead_letters`).

**Retries.** A retry that another receiver takes lies in the topic twice. Whoever owns the partition knows the digests
of the last ten minutes before each record, because it begins to read so much earlier; what comes again is passed over.
"""

from auditsink.kafka_spool.spool import KafkaSpool

__all__ = ["KafkaSpool"]
