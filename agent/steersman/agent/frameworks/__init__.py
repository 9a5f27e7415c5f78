"""Callbacks and helpers for training frameworks: one file each, which needs that framework and no other."""
