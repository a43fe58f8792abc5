"""fluent-bit's place taken over: its configuration read and translated, its HTTP API served, its chunks delivered.

    classic text or YAML --syntax--> FluentDocument --translate (keys, outputs)--> our configuration
                                                                            + notes + names
Nothing else imports this package but the command `auditsink fluentbit`; see docs/fluent-bit.md.
"""
