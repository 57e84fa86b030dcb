"""Who is live: asking FloxHub which generations an environment has, and remembering the answer."""
