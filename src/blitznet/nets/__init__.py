"""Networks in torch: encoders, streams, heads, their files and the engines that run them.

May import: core; torch, safetensors.
Never imports: other packages of blitznet: no data sets, losses, training or printing.
"""
