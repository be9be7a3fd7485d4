"""Everything that HTTP needs around a request: routing, keys, bodies, responses, CORS, tracing, descriptions."""
