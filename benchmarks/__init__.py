"""What the sink costs, measured beside its peers: `python -m benchmarks`. The method is in `benchmarks/README.md`."""
