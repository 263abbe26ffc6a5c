"""Tests of the template; this file is not copied."""
