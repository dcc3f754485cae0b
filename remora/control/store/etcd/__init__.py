"""The store on etcd: grpclib with etcd's own messages."""

from remora.control.store.etcd.auth import EtcdCredentials
from remora.control.store.etcd.client import EtcdStore
from remora.control.store.etcd.endpoints import Endpoint, EtcdTls, parse_endpoints

__all__ = ["Endpoint", "EtcdCredentials", "EtcdStore", "EtcdTls", "parse_endpoints"]
