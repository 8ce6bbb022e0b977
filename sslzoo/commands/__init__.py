"""The sub-commands of `sslzoo`, one file each: `main` and its signature, which is the flags."""
