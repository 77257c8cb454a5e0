# systemctl stop mysqld, until the process is gone
mysqld stopped:
  mysqld.stopped: []
