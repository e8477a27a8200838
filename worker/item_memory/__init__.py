"""What the stream teaches about items: who follows whom, what is trending."""
