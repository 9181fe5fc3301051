"""What the networks learn in short training runs."""
