"""The HTTP collector: the door through which browsers and other services send events."""
