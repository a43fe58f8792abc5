"""What an API server needs to post to the sink: flags, a kubeconfig, and the webhook that puts them in."""
