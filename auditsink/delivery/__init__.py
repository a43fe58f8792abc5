"""The contract between `forward`, destinations and filters: a batch, an outcome, a filter. Imports none of them."""
