"""Pixels → bytes: the table of formats, their encoders, content negotiation, response bodies, and encoder threads."""
