"""etcd behind one small interface: list, watch, put, lease."""
