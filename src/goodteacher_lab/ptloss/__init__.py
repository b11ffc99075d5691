"""Perturbed distillation: the proxy teacher that it implies."""
