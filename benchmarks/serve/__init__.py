"""Measurements of `blitznet serve`."""
