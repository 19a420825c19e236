"""What embeddings say without a classifier: data checks, distances, neighbours, what to label next."""
