"""``melo doctor``: what is wrong with a deployment, and what to do. It changes nothing, but for probe files."""
