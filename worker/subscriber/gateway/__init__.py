"""The gateway for browsers: each user's recommendations as Server-Sent Events, or as JSON."""
