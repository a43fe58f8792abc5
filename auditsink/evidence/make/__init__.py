"""Makes checkpoints while the sink runs: hashes the rings as they become durable, signs, keeps the chain."""
