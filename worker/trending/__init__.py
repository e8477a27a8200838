"""What is trending, as the prior of users of whom little is known."""
