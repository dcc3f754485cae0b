"""Where control keeps what people and instances write: etcd, or memory for tests, behind one small interface."""
