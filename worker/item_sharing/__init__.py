"""What the stream teaches about items: learned by every worker, shared by all."""
