"""From the spool to the destinations: each as fast as it can, at least once, in order, every event accounted for.

One `forwarder` a destination. Its `subscriptions` have one `subscription` for each ring and give them turns; one reads
ahead (`prefetch`), packs (`batching`) and moves its cursor behind the `frontier` of what was delivered. The `deliverer`
filters, makes the attempts and acts on their outcomes: `verdicts` say what they mean for the events, `retry` when to
try again, `dead_letters` keeps what is refused for good. `redelivery` and `replay` deliver again by command. `source`
is all that this package asks of the spool.
"""
