"""What `sslzoo probe` works with: what is judged, and the questions."""
