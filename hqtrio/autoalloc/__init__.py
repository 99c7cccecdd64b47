"""Machine 4: allocation queues, and what they say to batch managers; text in, text out."""
