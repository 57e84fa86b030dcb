"""HTTP in, HTTP out: each endpoint parses, asks the domain and answers. No rule of the domain lives here."""
