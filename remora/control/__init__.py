"""The control process: etcd in, pushes out."""
