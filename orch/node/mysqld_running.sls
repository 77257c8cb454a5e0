# systemctl start mysqld, until it answers SQL
mysqld running:
  mysqld.running: []
