"""Ray actors and how a run is spread over them. Each actor wraps one class of the library."""
