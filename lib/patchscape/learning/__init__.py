"""Images, the model made of circuits, and its training."""
