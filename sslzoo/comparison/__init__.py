"""What `sslzoo compare` works with: folder, table, and what runs in a process of its own."""
