"""From the spool to the destinations: each at its own pace, at least once, in order, every event accounted for.

One `forwarder` a destination. Its `roster` has a `lane` for each ring and gives turns by `rota`; a lane reads ahead
(`supply`), asks the filter (`sifting`), packs (`packing`) and moves its cursor behind the `frontier` of
what was delivered. A `courier` makes the attempts and judges their `outcome`: `pace`, `gate` and `hold` say when to try
again, `isolation` finds the events that are refused for good, `deadletter` keeps them. `replay` and `redeliver` deliver
again by command. `upstream` is all that this package knows of the spool.
"""
