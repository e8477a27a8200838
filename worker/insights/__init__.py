"""What became of recommendations, what is trending, and whether quality drifts: a Faust app.

Nothing else depends on it: the worker, the storefront and the subscribers do not notice when it is
not there.
"""
