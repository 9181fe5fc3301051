"""Networks in torch: encoders, streams, heads, their files and the engine that runs them.

May import: core; torch, safetensors. Imports no other room of the house.
Never comes in: data sets, losses, training, printing.
"""
