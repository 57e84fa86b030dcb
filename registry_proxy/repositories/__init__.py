"""What a repository answers: the domain between the endpoints and FloxHub, images, content and caches."""
