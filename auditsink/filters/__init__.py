"""What one destination gets of the trail: a Kubernetes audit Policy, fields taken out, secrets masked.

    batch --reading--> what a policy looks at --policy--> level --build--> the event with less in it, or as it was
                                                  masks, paths --edit--/

The rules are kube-apiserver's own (k8s.io/apiserver: pkg/audit/policy/checker.go decides, pkg/audit/request.go says
what a level records), applied once more to what it recorded: the level of an event is lowered and never raised.

An event that no rule touches keeps its bytes. From one that is touched pieces are cut out or replaced; all others
stay as they stand in it (order, duplicate keys, large numbers, odd encodings). What stands inside of a request's body
is chosen by whoever calls the apiserver, so nothing in there can make an event unreadable: a body that cannot be
edited within bounds is masked whole. What is no event at all (no level, no verb, a request that could not be split)
cannot be shown to be free of secrets, and must not vanish either: it becomes a dead letter unless the configuration
says `unreadable: pass`.

All of it is pure but `build`, which reads a policy file again when it changes.
"""
