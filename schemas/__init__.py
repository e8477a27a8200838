"""What both ends of the topics agree on: messages, topic names and policies, wire format, settings.

`worker` and `producer` depend on this package; it depends on neither.
"""
