"""Speed and accuracy beside other networks."""
