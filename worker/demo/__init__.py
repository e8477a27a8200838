"""`innerloop demo`: the product from data to a live view, by running its own public commands."""
