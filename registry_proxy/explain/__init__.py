"""The way back: from a digest or an image to the environment, its generation, and what changed."""
