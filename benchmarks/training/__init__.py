"""What the trainer reaches and what it costs."""
