"""Clusters, their endpoints, and pooled connections to them."""
