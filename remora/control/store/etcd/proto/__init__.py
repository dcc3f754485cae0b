"""The messages of etcd's v3 API that we use, generated from etcd.proto (`make proto`)."""
