"""The streaming worker, and the training and evaluation of the model that it runs."""
