"""Whole screens: help, a verdict, a page in time."""
