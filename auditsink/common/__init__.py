"""What every other package may lean on: time, sizes, secrets, sockets, waiting. It imports nothing of them."""
