"""Ratios of times within one run: what the project promises to be faster than, and by how much.

`make bench` runs them. The normal suite skips them, because nothing in it may depend on the clock.
"""
