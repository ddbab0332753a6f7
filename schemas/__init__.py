"""Arrow schemas and manifests: every column typed, explained and versioned."""
