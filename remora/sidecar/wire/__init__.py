"""Protocol codecs that share one stream interface."""
