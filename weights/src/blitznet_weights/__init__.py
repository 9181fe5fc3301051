"""Training weights of blitznet: safetensors files only, no code. blitznet finds them where this package is installed."""
